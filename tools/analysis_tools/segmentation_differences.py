"""Images, truth and predictions of several models, and where one is right and another wrong: boxes, or a map."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from figure_files import COLORS
from mmrobust.visualization.segmentation import side_by_side

__all__ = ['Difference', 'Scene', 'find_differences', 'map_errors', 'segmentation_figure']

MAX_WIDTH = 400  # pixels of a panel
_MIN_SHARE = 0.004  # of the image's pixels that a box must hold
_CLOSE, _OPEN = 1 / 64, 1 / 128  # of the image's width: gaps that are bridged, slivers that are dropped
_BETTER, _WORSE = COLORS[1], COLORS[0]
_BOTH_WRONG, _NOT_JUDGED = '0.35', '0.75'  # on white, where both are right


class Difference(NamedTuple):
    """A box: pixels [top, bottom) and [left, right), how many of them differ, and whether the other model is right."""

    top: int
    left: int
    bottom: int
    right: int
    pixels: int
    better: bool


class Scene(NamedTuple):
    """A row of the figure.

    Attributes:
        image: ``(H, W, 3)`` uint8, RGB.
        truth: ``(H, W)`` integer classes.
        predictions: model to ``(H, W)`` integer classes.
        scores: model to mIoU in percent.
        title: of the image: what was done to it.
    """

    image: np.ndarray
    truth: np.ndarray
    predictions: Mapping[str, np.ndarray]
    scores: Mapping[str, float]
    title: str = 'image'


def find_differences(
    reference: np.ndarray, other: np.ndarray, truth: np.ndarray, ignore_index: int = 255, max_boxes: int = 3
) -> list[Difference]:
    """Where one of two predictions is right and the other wrong, the largest areas first.

    Areas whose gaps are below 1/64 of the image's width are one, slivers below 1/128 of it, such as borders of
    objects, and areas below 0.4% of the image are none.

    Args:
        reference: ``(H, W)`` classes.
        other: the same of the model that is compared with it.
        truth: the same; pixels of ``ignore_index`` differ nowhere.
        ignore_index: label that belongs to no class.
        max_boxes: so many for each direction, at most.

    Raises:
        ValueError: the shapes differ.
    """
    if not reference.shape == other.shape == truth.shape:
        raise ValueError(f'maps must have one shape, got {reference.shape}, {other.shape} and {truth.shape}')
    width = truth.shape[1]
    # an odd side, so that nothing is shifted
    opening, closing = (np.ones((2 * max(1, round(width * share / 2)) + 1,) * 2, np.uint8) for share in (_OPEN, _CLOSE))
    found = []
    for right, wrong, better in ((other, reference, True), (reference, other, False)):
        mask = ((right == truth) & (wrong != truth) & (truth != ignore_index)).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, opening)
        _, areas, stats, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, closing))
        pixels = np.bincount(areas[mask > 0], minlength=len(stats))
        boxes = [
            Difference(int(top), int(left), int(top + height), int(left + width), int(count), better)
            for (left, top, width, height, _), count in zip(stats[1:], pixels[1:], strict=True)
            if count >= _MIN_SHARE * truth.size
        ]
        found += sorted(boxes, key=lambda box: -box.pixels)[:max_boxes]
    return found


def map_errors(reference: np.ndarray, other: np.ndarray, truth: np.ndarray, ignore_index: int = 255) -> np.ndarray:
    """Where two predictions are wrong, ``(H, W, 3)`` uint8, RGB, as :func:`segmentation_figure` explains the colours.

    Args:
        reference: ``(H, W)`` classes.
        other: the same of the model that is compared with it.
        truth: the same.
        ignore_index: label that belongs to no class.
    """
    colors = np.array([to_rgb(color) for color in ('1', _BETTER, _WORSE, _BOTH_WRONG, _NOT_JUDGED)])
    wrong = (reference != truth) + 2 * (other != truth)
    return (255 * colors[np.where(truth == ignore_index, 4, wrong)]).round().astype(np.uint8)


def segmentation_figure(
    scenes: Sequence[Scene],
    palette: Sequence[Sequence[int]],
    class_names: Sequence[str],
    ignore_index: int = 255,
    max_boxes: int = 3,
    errors: bool = False,
) -> tuple[Figure, list[dict[str, list[Difference]]]]:
    """A row for each scene: image, truth, and each model; the first one is what the others are compared with.

    A model's boxes are drawn on its own panel, and those of the last model on image, truth and reference too.

    Args:
        scenes: with predictions of the same models.
        palette: RGB of each class.
        class_names: as many.
        ignore_index: label that belongs to no class.
        max_boxes: so many for each direction, at most.
        errors: instead of boxes, map where the first and the last model are wrong, in a panel of its own.

    Returns:
        The figure, and the boxes of every scene by model.
    """
    found = []
    rows, boxes_of_rows = [], []
    for scene in scenes:
        reference = next(iter(scene.predictions))
        boxes = {
            name: find_differences(scene.predictions[reference], classes, scene.truth, ignore_index, max_boxes)
            for name, classes in scene.predictions.items()
            if name != reference
        }
        found.append(boxes)
        scale = min(1.0, MAX_WIDTH / scene.image.shape[1])
        size = tuple(round(scale * length) for length in scene.image.shape[1::-1])
        maps = {'ground truth': scene.truth} | {
            f'{name}   mIoU {scene.scores[name]:.1f}': classes for name, classes in scene.predictions.items()
        }
        if errors:
            first, last = (scene.predictions[name] for name in (reference, next(reversed(scene.predictions))))
            maps['errors'] = map_errors(first, last, scene.truth, ignore_index)
        small = {
            title: cv2.resize(classes.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
            for title, classes in maps.items()
        }
        image = cv2.resize(scene.image, size, interpolation=cv2.INTER_AREA)
        rows.append((side_by_side(image, small, palette, ignore_index, scene.title), size, scale))
        last = next(reversed(boxes.values()), [])
        boxes_of_panels = [last, last, *(boxes.get(name, last) for name in scene.predictions)]
        boxes_of_rows.append([[]] * (len(boxes_of_panels) + 1) if errors else boxes_of_panels)

    num_panels = len(boxes_of_rows[0])
    inches = 2.6 * num_panels
    heights = [row.shape[0] / row.shape[1] * inches for row, *_ in rows]
    figure = Figure((inches, sum(heights) + 0.08 * len(rows) + 0.9), layout='constrained')
    axes = figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (row, size, scale), boxes_of_panels in zip(axes, rows, boxes_of_rows, strict=True):
        ax.imshow(row, interpolation='antialiased')  # or titles lose lines of pixels
        ax.axis('off')
        header = row.shape[0] - size[1]
        for panel, boxes in enumerate(boxes_of_panels):
            for box in boxes:
                corner = (panel * size[0] + scale * box.left, header + scale * box.top)
                extent = (scale * (box.right - box.left), scale * (box.bottom - box.top))
                for width, color, dashes in ((3.2, 'white', '-'), (1.8, *_look(box.better))):
                    outline = dict(fill=False, edgecolor=color, linewidth=width, linestyle=dashes)
                    ax.add_patch(Rectangle(corner, *extent, **outline))
    figure.legend(
        handles=_key(scenes, palette, class_names, errors),
        loc='outside upper center',
        ncols=7,
        fontsize=7,
        frameon=False,
    )
    return figure, found


def _look(better: bool) -> tuple[str, str]:
    return (_BETTER, '-') if better else (_WORSE, '--')


def _key(
    scenes: Sequence[Scene], palette: Sequence[Sequence[int]], class_names: Sequence[str], errors: bool
) -> list[Patch]:
    maps = [labels for scene in scenes for labels in (scene.truth, *scene.predictions.values())]
    shown = {int(label) for labels in maps for label in np.unique(labels)}
    reference, last = (list(scenes[0].predictions)[place] for place in (0, -1))
    patches = [
        Patch(facecolor=np.array(palette[label]) / 255, label=class_names[label])
        for label in sorted(shown & set(range(len(class_names))))
    ]
    if errors:
        of_errors = {f'only {reference} wrong': _BETTER, f'only {last} wrong': _WORSE, 'both wrong': _BOTH_WRONG}
        return [*patches, *(Patch(facecolor=color, label=label) for label, color in of_errors.items())]
    for better, label in ((True, f'right, {reference} wrong'), (False, f'wrong, {reference} right')):
        color, dashes = _look(better)
        patches.append(Patch(fill=False, edgecolor=color, linestyle=dashes, linewidth=1.8, label=label))
    return patches
