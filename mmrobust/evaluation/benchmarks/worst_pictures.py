"""The pictures on which a model fails most, to be looked at."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mmrobust.evaluation.benchmarks.confusion_result import ConfusionResult
from mmrobust.evaluation.functional import iou_of_areas
from mmrobust.evaluation.protocols import Cell
from mmrobust.files import write_whole

MAX_WIDTH = 512  # pixels of a panel: enough to see, and small enough for a page
JPEG_QUALITY = 85


class WorstPicture(NamedTuple):
    """A picture with a low mIoU over the classes of its label and its prediction.

    Attributes:
        cell: under which corruption, or in which condition.
        picture: its name.
        miou: in percent.
    """

    cell: Cell
    picture: str
    miou: float


def find_worst(results: Mapping[Cell, ConfusionResult], count: int) -> list[WorstPicture]:
    """The worst pictures, worst first, of different scenes and of many corruptions.

    Every picture is shown once, and no corruption has more than its share of the places: otherwise the hardest
    corruption at severity 5 would take them all.
    """
    scored = []
    for cell, result in results.items():
        for name, counts in result.images.items():
            if counts[2].any():  # there is a label
                scored.append(WorstPicture(cell, name, float(np.nanmean(iou_of_areas(*counts)))))
    share = math.ceil(count / len({cell.corruption for cell in results})) if results else 0
    worst: list[WorstPicture] = []
    for one in sorted(scored, key=lambda one: (one.miou, one.cell.name, one.picture)):
        if len(worst) == count:
            break
        of_corruption = sum(other.cell.corruption == one.cell.corruption for other in worst)
        if of_corruption < share and all(other.picture != one.picture for other in worst):
            worst.append(one)
    return worst


def write_panels(
    folder: Path,
    index: int,
    pictures: Mapping[str, np.ndarray],
    label_maps: Mapping[str, np.ndarray],
    palette: Sequence[Sequence[int]],
) -> None:
    """Write ``<index>_<panel>.jpg`` for pictures and ``.png`` for label maps, in colour and small.

    Args:
        folder: made if need be.
        index: place of the picture among the worst.
        pictures: panel to ``(H, W, 3)`` uint8, BGR.
        label_maps: panel to ``(H, W)`` classes; what is no class becomes black.
        palette: RGB of each class.

    Raises:
        OSError: they cannot be written.
    """
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = np.asarray(palette)[:, ::-1]
    for panel, picture in pictures.items():
        content = cv2.imencode('.jpg', _small(picture, cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        write_whole(folder / f'{index}_{panel}.jpg', content.tobytes())
    for panel, label_map in label_maps.items():
        small = _small(label_map.astype(np.uint8), cv2.INTER_NEAREST)
        write_whole(folder / f'{index}_{panel}.png', cv2.imencode('.png', colors[small])[1].tobytes())


def _small(image: np.ndarray, interpolation: int) -> np.ndarray:
    height, width = image.shape[:2]
    if width <= MAX_WIDTH:
        return image
    return cv2.resize(image, (MAX_WIDTH, round(height * MAX_WIDTH / width)), interpolation=interpolation)
