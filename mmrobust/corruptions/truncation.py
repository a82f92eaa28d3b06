"""Conversion of float grey levels to uint8 by truncation, as imagecorruptions does it.

Cutting off makes flat areas sensitive: a filter whose weights sum to 1 - 1e-16 turns a sky of level 255 into 254, one
whose weights sum to 1 + 1e-16 leaves it alone. Which of the two happens is decided by the last bits of the published
double precision arithmetic, so a faster filter cannot know it. But it is a function of the level only, and there are
256 of them: each corruption says what becomes of a flat image, and the rest is ordinary.
"""

import cv2
import numpy as np

FLOAT32_TOLERANCE = 2**-12  # five times the rounding error of a filter in float32 on levels up to 255
FLOAT64_TOLERANCE = 1e-10  # a thousand times that of one in float64


def truncate_levels(levels: np.ndarray, flat_levels: np.ndarray, tolerance: float = FLOAT32_TOLERANCE) -> np.ndarray:
    """Cut real-valued grey levels down to uint8, flat areas exactly as published.

    Args:
        levels: float32 or float64, any shape; clipped to [0, 255].
        flat_levels: float64 ``(256,)``: what the published arithmetic makes of a flat image of level 0, 1, ... 255.
        tolerance: how near to a whole number, in levels, the result on a flat area may be for it to be decided by
            ``flat_levels``. More than the rounding error of ``levels``.
    """
    # the conversion to uint8 rounds and saturates
    upper = cv2.addWeighted(levels, 1, levels, 0, tolerance - 0.5, dtype=cv2.CV_8U)
    lower = cv2.addWeighted(levels, 1, levels, 0, -tolerance - 0.5, dtype=cv2.CV_8U)
    flat_levels = np.clip(flat_levels, 0, 255)
    whole = np.rint(flat_levels)
    decided = np.abs(flat_levels - whole) < tolerance
    table = np.arange(256, dtype=np.uint8)
    table[whole[decided].astype(np.int64)] = flat_levels[decided].astype(np.uint8)
    # the table takes 1 off at most: where both agree their level stays, elsewhere the table decides
    return cv2.max(lower, cv2.LUT(upper, table))
