"""Blur kernels shared by several corruptions, as imagecorruptions defines them.

Images are ``(H, W)`` or ``(H, W, C)``; what comes back is in the units of what was given, and float32 by default.
"""

import math

import cv2
import numpy as np

_STRIP_BYTES = 2**19  # of output filtered at a time, so that the sums stay in the second level cache


def disk_kernel(radius: int, alias_blur: float) -> np.ndarray:
    """Point spread function of a defocused lens: a filled circle, its stairs smoothed.

    Args:
        radius: of the circle, in pixels.
        alias_blur: standard deviation in pixels of the Gaussian that smooths the edge; cut off after 1 pixel for a
            radius up to 8 and after 2 above it, as published.

    Returns:
        float32, odd side, sum 1 to float32 rounding. The published 17 x 17 frame of zeros is kept for small radii:
        it decides what the smoothing meets at the border of the array.
    """
    reach, side = (8, 3) if radius <= 8 else (radius, 5)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    disk /= disk.sum()
    return cv2.GaussianBlur(disk, ksize=(side, side), sigmaX=alias_blur)


def gaussian_kernel(sigma: float, truncate: float = 4.0) -> np.ndarray:
    """Sampled 1-D Gaussian as SciPy has it: float64, sum 1, ``2 * int(truncate * sigma + 0.5) + 1`` taps."""
    radius = int(truncate * sigma + 0.5)
    kernel = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
    return kernel / kernel.sum()


def smooth(
    image: np.ndarray,
    sigma: float | tuple[float, float],
    truncate: float = 4.0,
    border: int = cv2.BORDER_REPLICATE,
    dtype: type = np.float32,
) -> np.ndarray:
    """Gaussian blur with SciPy's kernel.

    Args:
        image: uint8 or ``dtype``.
        sigma: standard deviation in pixels, one or (vertical, horizontal).
        truncate: cut the kernel off after this many standard deviations.
        border: what lies outside: ``cv2.BORDER_REPLICATE`` is SciPy's 'nearest' (and scikit-image's default),
            ``cv2.BORDER_REFLECT`` its 'reflect'.
        dtype: of the arithmetic and the result, np.float32 or np.float64.
    """
    vertical, horizontal = (sigma, sigma) if np.isscalar(sigma) else sigma
    return cv2.sepFilter2D(
        image,
        cv2.CV_64F if dtype == np.float64 else cv2.CV_32F,
        gaussian_kernel(horizontal, truncate),
        gaussian_kernel(vertical, truncate),
        borderType=border,
    )


def motion_kernel(radius: int, sigma: float) -> np.ndarray:
    """Weights along the path of a moving camera: float64, ``2 * radius + 1`` taps of half a Gaussian, sum 1."""
    # the published formula, because the last bits of the weights decide about flat areas
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    return weights / weights.sum()


def motion_path(taps: int, angle: float, shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Whole-pixel steps from a pixel to those it takes its light from.

    Args:
        taps: number of steps, one pixel apart.
        angle: of the movement, in degrees, 0 to the right and 90 down.
        shape: ``(H, W)``. As published, the path ends before a step that is as long as the image; the weights that
            are left over are lost, so a tiny image gets darker.

    Returns:
        Up to ``taps`` steps ``(down, right)``.
    """
    down, right = taps * math.sin(math.radians(angle)), taps * math.cos(math.radians(angle))
    length = math.hypot(down, right)
    path = []
    for tap in range(taps):
        step = math.ceil(tap * down / length - 0.5), math.ceil(tap * right / length - 0.5)
        if abs(step[0]) >= shape[0] or abs(step[1]) >= shape[1]:
            break
        path.append(step)
    return path


def motion_blur_along(
    image: np.ndarray, radius: int, sigma: float, angle: float, dtype: type = np.float32
) -> np.ndarray:
    """Blur by a camera movement: every pixel is a weighted sum of those on a path that starts at it.

    Args:
        image: of any number type.
        radius: half the length of the path, in pixels.
        sigma: standard deviation in pixels of the weights along it.
        angle: direction of the path in degrees, 0 to the right and 90 down.
        dtype: of the arithmetic and the result, np.float32 or np.float64.

    Returns:
        The shape of ``image``. Beyond the border lies its nearest pixel.
    """
    height, width = image.shape[:2]
    weights = motion_kernel(radius, sigma)
    path = motion_path(len(weights), angle, (height, width))
    downs, rights = zip(*path, strict=True)
    top, left = max(0, -min(downs)), max(0, -min(rights))
    padded = cv2.copyMakeBorder(
        image, top, max(0, *downs), left, max(0, *rights), borderType=cv2.BORDER_REPLICATE
    ).astype(dtype)
    blurred = np.zeros(image.shape, dtype)
    rows = max(1, _STRIP_BYTES // blurred[0].nbytes)
    for start in range(0, height, rows):
        strip = blurred[start : start + rows]
        for weight, (down, right) in zip(weights, path, strict=False):
            y, x = start + top + down, left + right
            cv2.scaleAdd(padded[y : y + len(strip), x : x + width], weight, strip, dst=strip)
    return blurred
