"""Label maps beside the image that they belong to."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

_HEADER = 22  # pixels above a panel, for its title
_INK, _PAPER = (30, 30, 30), 255


def side_by_side(
    image: np.ndarray,
    label_maps: Mapping[str, np.ndarray],
    palette: Sequence[Sequence[int]],
    ignore_index: int = 255,
    title: str = 'image',
) -> np.ndarray:
    """The image and then each label map in colour, with titles, in one row.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        label_maps: title to ``(H, W)`` integer classes; ``ignore_index`` is drawn black. What is ``(H, W, 3)`` uint8 is
            drawn as it is.
        palette: RGB of each class, 0 to 255.
        ignore_index: label that belongs to no class.
        title: of the image.

    Returns:
        ``(H + header, (1 + maps) * W, 3)`` uint8, RGB.

    Raises:
        ValueError: if a label map is not as large as the image, or holds a class without a colour.
    """
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    panels = [_titled(title, image)]
    for title, label_map in label_maps.items():
        if label_map.shape == image.shape:
            panels.append(_titled(title, label_map))
            continue
        if label_map.shape != image.shape[:2]:
            raise ValueError(f'{title!r} must be as large as the image, {image.shape[:2]}, got {label_map.shape}')
        foreign = set(np.unique(label_map).tolist()) - set(range(len(palette))) - {ignore_index}
        if foreign:
            raise ValueError(f'{title!r} must hold classes 0 to {len(palette) - 1} and {ignore_index}, got {foreign}')
        panels.append(_titled(title, colors[label_map]))
    return np.hstack(panels)


def _titled(title: str, panel: np.ndarray) -> np.ndarray:
    header = np.full((_HEADER, panel.shape[1], 3), _PAPER, np.uint8)
    cv2.putText(header, title, (4, _HEADER - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return np.vstack((header, panel))
