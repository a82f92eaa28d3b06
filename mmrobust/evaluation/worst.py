"""The worst images of a segmentation model: selection and files."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.counts import Confusion
from mmrobust.evaluation.statistics import iou_of_areas
from mmrobust.files import write_whole

MAX_WIDTH = 512  # pixels of a panel: enough to see, and small enough for a page
JPEG_QUALITY = 85
ERROR_COLORS = ((235, 235, 235), (213, 94, 0), (0, 0, 0))  # RGB of right, wrong, and ignored pixels

# end of a file's name to the title of its panel; ACDC has an image, and no clean and corrupted one
PANELS = {
    'clean.jpg': 'clean',
    'corrupted.jpg': 'corrupted',
    'attacked.jpg': 'attacked',
    'image.jpg': 'image',
    'truth.png': 'ground truth',
    'prediction.png': 'prediction',
    'errors.png': 'errors',
}
_MAGIC = {b'\xff\xd8\xff': 'image/jpeg', b'\x89PNG\r\n\x1a\n': 'image/png'}  # first bytes of a file


class WorstImage(NamedTuple):
    """An image with a low mIoU over the classes of its label and its prediction.

    Attributes:
        cell: under which corruption, or in which condition.
        image: its name.
        miou: in percent.
    """

    cell: Cell
    image: str
    miou: float


def find_worst(counts: Mapping[Cell, Confusion], count: int) -> list[WorstImage]:
    """The worst images, worst first, of different scenes and of many corruptions.

    Every image is shown once, and no corruption has more than its share of the places: otherwise the hardest
    corruption at severity 5 would take them all.
    """
    share = math.ceil(count / len({cell.name for cell in counts})) if counts else 0
    worst: list[WorstImage] = []
    for one in sorted(_scored(counts).values(), key=lambda one: (one.miou, one.cell.key, one.image)):
        if len(worst) == count:
            break
        of_corruption = sum(other.cell.name == one.cell.name for other in worst)
        if of_corruption < share and all(other.image != one.image for other in worst):
            worst.append(one)
    return worst


def those_of(cases: Sequence[Mapping[str, Any]], counts: Mapping[Cell, Confusion]) -> list[WorstImage]:
    """The worst images of another report that are here too, with the mIoU that they have here."""
    scored = _scored(counts)
    places = [(Cell.of_key(str(case['cell'])), str(case['image'])) for case in cases]
    return [scored[place] for place in places if place in scored]


def _scored(counts: Mapping[Cell, Confusion]) -> dict[tuple[Cell, str], WorstImage]:
    """Every image that has a label."""
    return {
        (cell, name): WorstImage(cell, name, float(np.nanmean(iou_of_areas(*areas))))
        for cell, found in counts.items()
        for name, areas in found.images.items()
        if areas[2].any()
    }


def error_map(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Where a prediction is right, wrong, or not judged: ``(H, W, 3)`` uint8, RGB, in ``ERROR_COLORS``.

    Args:
        truth: ``(H, W)`` classes; what is no class is not judged.
        prediction: ``(H, W)`` classes.
        num_classes: how many classes there are.
    """
    judged = truth < num_classes
    return np.asarray(ERROR_COLORS, np.uint8)[np.where(judged, truth != prediction, 2).astype(int)]


def write_panels(
    folder: Path,
    index: int,
    images: Mapping[str, np.ndarray],
    label_maps: Mapping[str, np.ndarray],
    palette: Sequence[Sequence[int]],
) -> None:
    """Write ``<index>_<panel>.jpg`` for images and ``.png`` for label maps, in colour and small, and the errors.

    Args:
        folder: made if need be.
        index: place of the image among the worst.
        images: panel to ``(H, W, 3)`` uint8, BGR.
        label_maps: ``truth`` and ``prediction``, ``(H, W)`` classes; what is no class becomes black.
        palette: RGB of each class.

    Raises:
        OSError: they cannot be written.
    """
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = np.asarray(palette)[:, ::-1]
    for panel, image in images.items():
        content = cv2.imencode('.jpg', _small(image, cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        write_whole(folder / f'{index}_{panel}.jpg', content.tobytes())
    small = {panel: _small(of.astype(np.uint8), cv2.INTER_NEAREST) for panel, of in label_maps.items()}
    drawn = {panel: colors[of] for panel, of in small.items()}
    drawn['errors'] = error_map(small['truth'], small['prediction'], len(palette))[..., ::-1]
    for panel, image in drawn.items():
        write_whole(folder / f'{index}_{panel}.png', cv2.imencode('.png', image)[1].tobytes())


def read_panels(folder: str | Path, worst: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The worst cases of a run with their images, read from ``FOLDER/worst/INDEX_PANEL``.

    Args:
        folder: where ``results.json`` is.
        worst: ``worst`` of that file: ``image``, ``cell`` and ``mIoU`` of each case. Only their order decides which
            files are read; no name in them does.

    Returns:
        The cases with ``panels``: title to the bytes of a JPEG or PNG file, of the files that there are.

    Raises:
        ValueError: ``worst`` is no list of cases, or a file is no image.
        OSError: a file cannot be read.
    """
    if not isinstance(worst, Sequence) or not all(isinstance(case, Mapping) for case in worst):
        raise ValueError(
            f'worst must be a list of cases with image, cell and mIoU, got {str(worst)[:80]!r} in {folder}'
        )
    cases = []
    for index, case in enumerate(worst):
        paths = {title: Path(folder) / 'worst' / f'{index}_{end}' for end, title in PANELS.items()}
        panels = {title: path.read_bytes() for title, path in paths.items() if path.is_file()}
        for title, content in panels.items():
            media_type(content, str(paths[title]))
        cases.append({**case, 'panels': panels})
    return cases


def media_type(content: bytes, what: str) -> str:
    """Media type of a JPEG or PNG file, by its first bytes.

    Args:
        content: the whole file, or its beginning.
        what: what to call it in the error.

    Raises:
        ValueError: it is neither.
    """
    for magic, found in _MAGIC.items():
        if isinstance(content, bytes) and content.startswith(magic):
            return found
    raise ValueError(f'{what} must be a JPEG or PNG file, got one that starts with {content[:8]!r}')


def _small(image: np.ndarray, interpolation: int) -> np.ndarray:
    height, width = image.shape[:2]
    if width <= MAX_WIDTH:
        return image
    return cv2.resize(image, (MAX_WIDTH, round(height * MAX_WIDTH / width)), interpolation=interpolation)
