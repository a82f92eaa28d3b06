"""Blur corruptions: defocus, glass, motion, zoom, Gaussian.

Algorithms and constants are those of imagecorruptions 1.1.2 (Michaelis et al., 2019, Apache-2.0), after ImageNet-C
(Hendrycks and Dietterich, 2019); the code is our own. All functions take and return RGB uint8 ``(H, W, 3)``.
"""

import cv2
import numpy as np

from .kernels import disk_kernel, gaussian_kernel, motion_blur_along, motion_kernel, motion_path, smooth

# Constants for severity 1 to 5, from imagecorruptions. Lengths are pixels, whatever the size of the image.
DEFOCUS_RADIUS_AND_ALIAS_BLUR = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
GLASS_SIGMA_REACH_AND_SWEEPS = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
MOTION_RADIUS_AND_SIGMA = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
ZOOM_STOP_AND_STEP = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))  # factors, from 1
GAUSSIAN_SIGMA = (1, 2, 3, 4, 6)

MOTION_ANGLES = (-45, 45)  # degrees, drawn uniformly

FLOAT32_TOLERANCE = 2**-12  # five times the rounding error of a filter in float32 on levels up to 255
FLOAT64_TOLERANCE = 1e-10  # a thousand times that of one in float64

_STRIP_ROWS = 16  # enlarged at a time, so that the intermediate values stay in the second level cache


def defocus_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Lens out of focus: every point becomes a disk. Deterministic, ``rng`` is not used."""
    kernel = disk_kernel(*DEFOCUS_RADIUS_AND_ALIAS_BLUR[severity - 1])
    # its weights sum to 1 only to float32 rounding (to 1.01 where the disk fills its frame), which flat areas show
    flat = np.arange(256) * kernel.sum(dtype=np.float64)
    return truncate_levels(cv2.filter2D(image.astype(np.float32), -1, kernel), flat)


def gaussian_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur. Deterministic, ``rng`` is not used."""
    return _smooth_levels(image, GAUSSIAN_SIGMA[severity - 1])


def motion_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Camera movement in a random direction."""
    radius, sigma = MOTION_RADIUS_AND_SIGMA[severity - 1]
    angle = rng.uniform(*MOTION_ANGLES)
    flat = np.zeros(256)
    for weight, _ in zip(
        motion_kernel(radius, sigma), motion_path(2 * radius + 1, angle, image.shape[:2]), strict=False
    ):
        flat += weight * np.arange(256)
    blurred = motion_blur_along(image, radius, sigma, angle, dtype=np.float64)
    return truncate_levels(blurred, flat, FLOAT64_TOLERANCE)


def zoom_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Zooming while the shutter is open: the mean of the image and enlarged ones. Deterministic, ``rng`` is not used.

    As published, an enlargement is made from the central part of the image and then cut at the right and bottom,
    where it is up to a pixel too large; and the image itself counts twice.
    """
    height, width = image.shape[:2]
    stop, step = ZOOM_STOP_AND_STEP[severity - 1]
    factors = np.arange(1, stop, step)
    source = image.astype(np.float32) / np.float32(255)
    total = source.copy()  # the first factor is 1
    for factor in factors[1:]:
        rows, columns = int(np.ceil(height / factor)), int(np.ceil(width / factor))
        top, left = (height - rows) // 2, (width - columns) // 2
        # the corners of the part are the corners of the enlargement, of which (height, width) are wanted
        scale_y = (rows - 1) / (round(rows * factor) - 1)
        scale_x = (columns - 1) / (round(columns * factor) - 1)
        _add_enlarged(total, source[top : top + rows, left : left + columns], scale_y, scale_x)
    # The mean of whole levels is often whole, and then its last bit decides about a grey level: the order of additions
    # and the unit are the published ones.
    total += source
    total /= len(factors) + 1
    np.clip(total, 0, 1, out=total)
    total *= 255
    return total.astype(np.uint8)


def _add_enlarged(total: np.ndarray, image: np.ndarray, scale_y: float, scale_x: float) -> None:
    """Add the image, read bilinearly at multiples of the scales (below 1), to ``total``, both float32 ``(H, W, 3)``.

    Not by ``cv2.warpAffine``: OpenCV 4 rounds the places to 1/32 pixel, which changes one grey level in eight.
    """
    upper, down = _bilinear(total.shape[0], scale_y, image.shape[0])
    left, right = _bilinear(total.shape[1], scale_x, image.shape[1])
    down, right = down[:, np.newaxis, np.newaxis], np.repeat(right[:, np.newaxis], 3, axis=1)
    for start in range(0, len(total), _STRIP_ROWS):
        strip = slice(start, start + _STRIP_ROWS)
        rows, lower_rows = image[upper[strip]], image[upper[strip] + 1]
        lower_rows -= rows
        lower_rows *= down[strip]
        rows += lower_rows
        values, right_values = rows.take(left, axis=1), rows.take(left + 1, axis=1)
        right_values -= values
        right_values *= right
        values += right_values
        total[strip] += values


def _bilinear(count: int, scale: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First of the two neighbours of ``count`` places on an axis, and the weight of the second, float32."""
    places = np.arange(count) * scale
    first = np.minimum(places.astype(np.int64), size - 2)
    return first, (places - first).astype(np.float32)


def glass_blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Seen through frosted glass: pixels are displaced at random over a few pixels, between two Gaussian blurs."""
    sigma, reach, sweeps = GLASS_SIGMA_REACH_AND_SWEEPS[severity - 1]
    blurred = _smooth_levels(image, sigma)
    # four bytes to a pixel can be moved at once
    pixels = cv2.cvtColor(blurred, cv2.COLOR_RGB2RGBA).view(np.uint32)[..., 0]
    displaced = _displace(pixels, reach, sweeps, rng)[..., np.newaxis].view(np.uint8)
    return _smooth_levels(cv2.cvtColor(displaced, cv2.COLOR_RGBA2RGB), sigma)


def _displace(pixels: np.ndarray, reach: int, sweeps: int, rng: np.random.Generator) -> np.ndarray:
    """Displace the pixels of an image ``(H, W)`` at random, as often as there are sweeps.

    The published loop goes over the image from its last pixel to its first and means to swap each pixel with one at
    a random distance in ``[-reach, reach)`` on both axes. But it swaps views of one array, so what happens is a copy
    onto the pixel from that other one: pixels are lost and repeated, and the other one may have been copied onto in
    the same sweep. Those are chains of pointers, which are followed here by halving their length again and again.
    """
    height, width = pixels.shape
    offsets = np.array([down * width + right for down in range(-reach, reach) for right in range(-reach, reach)])
    nowhere = 2 * reach * reach + reach  # the draw of the offset 0: those above it are further on in the image
    rows, columns = slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1)
    here = np.arange(height * width).reshape(height, width)
    further = np.zeros((height, width), bool)
    for _ in range(sweeps):
        draw = rng.integers(0, len(offsets), here[rows, columns].shape, dtype=np.uint8)
        source = here.copy()
        source[rows, columns] += offsets[draw]
        further[rows, columns] = draw > nowhere
        # A pixel that is further on has had its turn: take what it took. (Or it lies beyond the pixels that have a
        # turn, and is its own source.)
        origin, chained = source.ravel(), further.ravel().copy()
        pending = np.flatnonzero(chained)
        while pending.size:
            link = origin[pending]
            goes_on = chained[link]
            origin[pending], chained[pending] = origin[link], goes_on
            pending = pending[goes_on]
        pixels = pixels.ravel()[source]
    return pixels


def _smooth_levels(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of grey levels, uint8 to uint8."""
    kernel = gaussian_kernel(sigma)
    radius = len(kernel) // 2
    flat = np.arange(256) / 255
    for _ in range(2):  # vertically, horizontally; in the order in which SciPy adds up a symmetric kernel
        flat, taken = flat * kernel[radius], flat
        for weight in kernel[:radius]:
            flat += (taken + taken) * weight
    # Next to the corners of a flat area only the tails of the kernel reach something else, and what they add is lost
    # in float32 but decides about a grey level. The small kernels are fast enough to avoid that.
    dtype, tolerance = (np.float64, FLOAT64_TOLERANCE) if sigma <= 3 else (np.float32, FLOAT32_TOLERANCE)
    return truncate_levels(smooth(image, sigma, dtype=dtype), flat * 255, tolerance)


def truncate_levels(levels: np.ndarray, flat_levels: np.ndarray, tolerance: float = FLOAT32_TOLERANCE) -> np.ndarray:
    """Cut real-valued grey levels down to uint8, flat areas exactly as published.

    Cutting off makes flat areas sensitive: a filter whose weights sum to 1 - 1e-16 turns a sky of level 255 into 254,
    one whose weights sum to 1 + 1e-16 leaves it alone. Which of the two happens is decided by the last bits of the
    published double precision arithmetic, so a faster filter cannot know it. But it is a function of the level only,
    and there are 256 of them: each corruption says what becomes of a flat image, and the rest is ordinary.

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
