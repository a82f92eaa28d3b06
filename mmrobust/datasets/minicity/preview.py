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
    """An RGB image (uint8): per street clear, label, fog in one row and night, rain, snow below."""
    rows = []
    for index in indices:
        street = lay_out(seed, split, index)
        canvas = draw_scene(street, *size)
        images = [('clear', render(canvas, street)), ('label', to_color(label_map(canvas)))]
        images += [(condition, render(canvas, street, condition)) for condition in CONDITIONS]
        captioned = [_caption(image, text) for text, image in images]
        rows += [np.concatenate(captioned[:3], 1), np.concatenate(captioned[3:], 1)]
    return np.concatenate(rows, 0)


def _caption(image: np.ndarray, text: str) -> np.ndarray:
    scale = max(0.3, image.shape[1] / 1000)
    place = (round(24 * scale), round(34 * scale))
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA)
    return image
