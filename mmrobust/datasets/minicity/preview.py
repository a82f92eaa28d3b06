"""One image that shows what a MiniCity holds: streets, their labels and the four conditions."""

from collections.abc import Sequence

import cv2
import numpy as np

from .labels import to_color
from .layout import lay_out
from .scene import draw_scene
from .weather import CONDITIONS, label_map, render


def overview(
    seed: int = 0, size: tuple[int, int] = (512, 256), split: str = 'val', indices: Sequence[int] = (0, 1, 2, 3)
) -> np.ndarray:
    """An RGB image (uint8): a row for each street, clear, its label, and in each condition, with a head above."""
    rows = []
    for index in indices:
        street = lay_out(seed, split, index)
        canvas = draw_scene(street, *size)
        images = [render(canvas, street), to_color(label_map(canvas))]
        rows.append(np.concatenate([*images, *(render(canvas, street, condition) for condition in CONDITIONS)], 1))
    heads = [_head(text, size[0]) for text in ('clear', 'label', *CONDITIONS)]
    return np.concatenate([np.concatenate(heads, 1), *rows], 0)


def _head(text: str, width: int) -> np.ndarray:
    """White, with black text in the middle."""
    scale = max(0.3, width / 500)
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    head = np.full((2 * high, width, 3), 255, np.uint8)
    place = ((width - wide) // 2, 3 * high // 2)
    return cv2.putText(head, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), max(1, width // 400), cv2.LINE_AA)
