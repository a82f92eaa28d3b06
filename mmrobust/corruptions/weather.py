"""Weather corruptions: snow, frost, fog, spatter. (Brightness, which ImageNet-C counts as weather, is in ``digital``.)

Algorithms and constants are those of imagecorruptions 1.1.2 (Michaelis et al., 2019, Apache-2.0), after ImageNet-C
(Hendrycks and Dietterich, 2019); the code is our own. All functions take and return RGB uint8 ``(H, W, 3)``.
"""

import functools
import importlib.metadata
import math
from collections.abc import Callable

import cv2
import numpy as np

from .kernels import motion_blur_along, smooth

# Constants for severity 1 to 5, from imagecorruptions. Flakes, drops and haze are on a scale where white is 1.
SNOW_FLAKES = ((0.1, 0.3), (0.2, 0.3), (0.55, 0.3), (0.55, 0.3), (0.55, 0.3))  # mean and deviation of normal noise
SNOW_ZOOM_AND_THRESHOLD = ((3, 0.5), (2, 0.5), (4, 0.9), (4.5, 0.85), (2.5, 0.85))
SNOW_RADIUS_AND_SIGMA = ((10, 4), (12, 4), (12, 8), (12, 8), (12, 12))  # of the motion blur, in pixels
SNOW_IMAGE = (0.8, 0.7, 0.7, 0.65, 0.55)  # weight of the image, against the same image whitened
FROST_IMAGE_AND_TEXTURE = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))  # weights
FOG_HAZE_AND_DECAY = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))  # weight and smoothness of the plasma
SPATTER_DROPS = ((0.65, 0.3), (0.65, 0.3), (0.65, 0.3), (0.65, 0.3), (0.67, 0.4))  # mean and deviation of normal noise
SPATTER_SIGMA_AND_THRESHOLD = ((4, 0.69), (3, 0.68), (2, 0.68), (1, 0.65), (1, 0.65))
SPATTER_WATER = (0.6, 0.6, 0.5)  # severity 1 to 3: opacity at its highest
SPATTER_MUD_SIGMA = (1.5, 1.5)  # severity 4 and 5: of the mud's edges, in pixels

SNOW_ANGLES = (-135, -45)  # degrees, drawn uniformly
DISTRIBUTION = 'imagecorruptions-imaug'  # has the images of frost (Apache-2.0)
# There is a sixth, frost6.jpg, which the published corruption never draws.
FILES = ('frost1.png', 'frost2.png', 'frost3.png', 'frost4.jpg', 'frost5.jpg')
FROST_MARGIN = 1.1  # size of the texture against the smallest that covers the image
WATER_RGB = (175, 238, 238)  # pale turquoise
MUD_RGB = (63, 42, 20)
MUD_OPACITY = 0.8  # mud that is thinner is left out

_STRIP_PIXELS = 2**16  # worked on at a time, so that intermediate values stay in the second level cache


def snow(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Falling snow: the image is whitened, and streaks of flakes are added twice, the second time upside down."""
    flakes = _snow_flakes(image.shape[:2], severity, rng)
    flakes = cv2.add(flakes, cv2.rotate(flakes, cv2.ROTATE_180))
    weight = SNOW_IMAGE[severity - 1]
    out = np.empty_like(image)
    for rows in _strips(image.shape):
        strip = image[rows].astype(np.float32)
        white = cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY)
        white *= 1.5
        white += 127.5
        white = np.maximum(strip, cv2.cvtColor(white, cv2.COLOR_GRAY2RGB))
        strip = cv2.addWeighted(strip, weight, white, 1 - weight, 0)
        levels = np.minimum(strip, 255, out=strip).astype(np.uint8)
        cv2.add(levels, cv2.cvtColor(flakes[rows], cv2.COLOR_GRAY2RGB), dst=out[rows])
    return out


def _snow_flakes(shape: tuple[int, int], severity: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the streaks that the flakes of one layer leave, uint8 in the given shape ``(H, W)``."""
    height, width = shape
    mean, deviation = SNOW_FLAKES[severity - 1]
    zoom, threshold = SNOW_ZOOM_AND_THRESHOLD[severity - 1]
    # all that is ever seen of the noise is as much as fills the image once enlarged
    rows, columns = math.ceil(height / zoom), math.ceil(width / zoom)
    noise = rng.standard_normal((rows, columns), dtype=np.float32)
    noise *= deviation
    noise += mean
    full_rows, full_columns = round(rows * zoom), round(columns * zoom)
    corners_to_corners = np.array([[(columns - 1) / (full_columns - 1), 0, 0], [0, (rows - 1) / (full_rows - 1), 0]])
    layer = cv2.warpAffine(
        noise,
        corners_to_corners,
        (full_columns, full_rows),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    _, layer = cv2.threshold(layer, threshold, 0, cv2.THRESH_TOZERO)
    np.minimum(layer, 1, out=layer)
    radius, sigma = SNOW_RADIUS_AND_SIGMA[severity - 1]
    streaks = motion_blur_along(layer, radius, sigma, rng.uniform(*SNOW_ANGLES))
    return cv2.convertScaleAbs(streaks[:height, :width], alpha=255)


@functools.cache
def frost_texture(index: int) -> np.ndarray:
    """Read one of the five images of frost; from the second time on it comes from memory.

    The distribution is looked up and not imported: importing it would compile code with numba.

    Args:
        index: into ``FILES``.

    Returns:
        RGB uint8 ``(H, W, 3)``, read-only; from 315 x 560 to 600 x 900.

    Raises:
        FileNotFoundError: the distribution is not installed, or its images are not where they should be.
    """
    try:
        files = importlib.metadata.files(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        raise FileNotFoundError(
            f'frost needs the images in the package {DISTRIBUTION}, which is not installed: pip install {DISTRIBUTION}'
        ) from None
    for file in files:
        if file.parts[-2:] == ('frost', FILES[index]):
            texture = cv2.imread(str(file.locate()), cv2.IMREAD_COLOR)
            if texture is not None:
                texture = cv2.cvtColor(texture, cv2.COLOR_BGR2RGB)
                texture.flags.writeable = False
                return texture
    raise FileNotFoundError(
        f'frost needs {FILES[index]} of the package {DISTRIBUTION}, which is installed without it: '
        f'pip install --force-reinstall {DISTRIBUTION}'
    )


def frost(
    image: np.ndarray,
    severity: int,
    rng: np.random.Generator,
    load_texture: Callable[[int], np.ndarray] = frost_texture,
) -> np.ndarray:
    """Frost on the window: a random part of one of five images of frost is added.

    Args:
        image: RGB uint8 ``(H, W, 3)``.
        severity: 1 to 5.
        rng: draws the image and the part.
        load_texture: gives the image of an index from 0 to 4, RGB uint8 of any size.

    Raises:
        FileNotFoundError: the package with the images is not installed.
    """
    height, width = image.shape[:2]
    texture = load_texture(int(rng.integers(len(FILES))))
    scale = max(1, height / texture.shape[0], width / texture.shape[1]) * FROST_MARGIN
    size = math.ceil(texture.shape[1] * scale), math.ceil(texture.shape[0] * scale)
    texture = cv2.resize(texture, size, interpolation=cv2.INTER_CUBIC)
    top, left = rng.integers(texture.shape[0] - height), rng.integers(texture.shape[1] - width)
    image_weight, texture_weight = FROST_IMAGE_AND_TEXTURE[severity - 1]
    # The sum is a multiple of 0.05 and its fraction is to be cut off. cv2 rounds, so half a level has to go, and a
    # little less than that for whole numbers to stay.
    return cv2.addWeighted(
        image, image_weight, texture[top : top + height, left : left + width], texture_weight, 0.02 - 0.5
    )


def fog(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Fog: clouds are added, and the sum is scaled back to the image's largest value."""
    haze_weight, decay = FOG_HAZE_AND_DECAY[severity - 1]
    height, width = image.shape[:2]
    haze = plasma_fractal(1 << (max(height, width) - 1).bit_length(), decay, rng)[:height, :width]
    largest = image.max() / 255
    scale = largest / (largest + haze_weight)
    haze = haze * np.float32(255 * haze_weight * scale)
    out = np.empty_like(image)
    for rows in _strips(image.shape):
        strip = cv2.cvtColor(haze[rows], cv2.COLOR_GRAY2RGB)
        strip = cv2.scaleAdd(image[rows].astype(np.float32), scale, strip)
        out[rows] = np.minimum(strip, 255, out=strip)
    return out


def spatter(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Drops on the lens: of water up to severity 3, of mud above.

    It happens that no drop falls on a small image. It is then returned as it is (published, 0 / 0 made it black).
    """
    mean, deviation = SPATTER_DROPS[severity - 1]
    sigma, threshold = SPATTER_SIGMA_AND_THRESHOLD[severity - 1]
    liquid = rng.standard_normal(image.shape[:2], dtype=np.float32)
    liquid *= deviation
    liquid += mean
    liquid = smooth(liquid, sigma)
    if severity <= len(SPATTER_WATER):
        return _with_water(
            image, cv2.threshold(liquid, threshold, 0, cv2.THRESH_TOZERO)[1], SPATTER_WATER[severity - 1]
        )
    return _with_mud(image, liquid > threshold, SPATTER_MUD_SIGMA[severity - 1 - len(SPATTER_WATER)])


def _with_water(image: np.ndarray, liquid: np.ndarray, opacity: float) -> np.ndarray:
    """Add drops of water, which are bright where their edge bends the light."""
    liquid = (liquid * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32)
    light = cv2.blur(cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, emboss), (3, 3))
    light = cv2.multiply(liquid, light, dtype=cv2.CV_32F)
    brightest = light.max()
    if brightest == 0:
        return image.copy()
    light *= opacity / brightest
    # the image's levels are whole numbers: cutting off the fraction of the sum is cutting off that of the light
    return cv2.add(image, cv2.merge([(light * channel).astype(np.uint8) for channel in WATER_RGB]))


def _with_mud(image: np.ndarray, mud: np.ndarray, sigma: float) -> np.ndarray:
    """Cover the image where ``mud`` is true, with soft edges."""
    opacity = smooth(mud.astype(np.float32), sigma)
    _, opacity = cv2.threshold(opacity, MUD_OPACITY, 0, cv2.THRESH_TOZERO)
    out = np.empty_like(image)
    for rows in _strips(image.shape):
        strip = np.array(MUD_RGB, np.float32) - image[rows]
        strip *= opacity[rows, :, np.newaxis]
        strip += image[rows]
        strip += 0.001  # the smoothing's weights sum to 1 but for rounding, and a whole level must not be cut off
        out[rows] = strip
    return out


def _strips(shape: tuple[int, ...]) -> list[slice]:
    """Cut an image into strips of rows."""
    rows = max(1, _STRIP_PIXELS // shape[1])
    return [slice(start, start + rows) for start in range(0, shape[0], rows)]


def plasma_fractal(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a map of clouds that is seamless: its right edge continues at the left, its lower one at the top.

    The diamond-square algorithm: from a single point on, the grid of known points is refined until it is full. First
    the middle of every square, then of every edge becomes the mean of its four neighbours, plus uniform noise.

    Args:
        side: of the map, in pixels; a power of two.
        decay: the noise's amplitude is divided by its square from one grid to the next finer one. The larger, the
            smoother the clouds.
        rng: draws ``side**2 - 1`` numbers.

    Returns:
        float32 ``(side, side)``, scaled to [0, 1].
    """
    grid = np.zeros((1, 1), np.float32)
    amplitude = 1.0  # the scale does not matter
    while len(grid) < side:
        finer = np.empty((2 * len(grid), 2 * len(grid)), np.float32)
        finer[::2, ::2] = grid
        centres = _mean_of_four(grid, _next(grid, 0), _next(grid, 1), _next(_next(grid, 0), 1), amplitude, rng)
        finer[1::2, 1::2] = centres
        finer[::2, 1::2] = _mean_of_four(grid, _next(grid, 1), centres, _previous(centres, 0), amplitude, rng)
        finer[1::2, ::2] = _mean_of_four(grid, _next(grid, 0), centres, _previous(centres, 1), amplitude, rng)
        grid = finer
        amplitude /= decay**2
    grid -= grid.min()
    grid /= grid.max()
    return grid


def _mean_of_four(a, b, c, d, amplitude: float, rng: np.random.Generator) -> np.ndarray:
    noise = rng.random(a.shape, dtype=np.float32)
    noise -= np.float32(0.5)
    noise *= np.float32(8 * amplitude)
    noise += a
    noise += b
    noise += c
    noise += d
    noise *= np.float32(0.25)
    return noise


def _next(grid: np.ndarray, axis: int) -> np.ndarray:
    return np.roll(grid, -1, axis)


def _previous(grid: np.ndarray, axis: int) -> np.ndarray:
    return np.roll(grid, 1, axis)
