"""The fast blurs against the slow definitions that they stand for, flat areas included."""

import math

import numpy as np
import pytest

from mmrobust.corruptions import blur
from mmrobust.corruptions.kernels import disk_kernel, motion_kernel

ndimage = pytest.importorskip('scipy.ndimage')

SEVERITIES = range(1, 6)
SHAPES = [(32, 32), (33, 97), (97, 33)]


class FixedAngle:
    """A generator that draws one angle."""

    def __init__(self, angle: float):
        self.angle = angle

    def uniform(self, low: float, high: float) -> float:
        assert low <= self.angle <= high
        return self.angle


def random_image(height: int, width: int) -> np.ndarray:
    """Half flat blocks, half noise."""
    rng = np.random.default_rng(height)
    blocks = rng.integers(0, 256, (height // 11 + 1, width // 11 + 1, 3), dtype=np.uint8)
    image = np.ascontiguousarray(blocks.repeat(11, axis=0).repeat(11, axis=1)[:height, :width])
    image[:, : width // 2] = rng.integers(0, 256, image[:, : width // 2].shape, dtype=np.uint8)
    return image


def blurred_levels(corruption, severity: int) -> np.ndarray:
    """What a blur makes of a flat image of each level; it stays flat."""
    results = [corruption(np.full((34, 35, 3), level, np.uint8), severity, FixedAngle(20)) for level in range(256)]
    assert all((result == result[0, 0, 0]).all() for result in results)
    return np.array([result[0, 0, 0] for result in results])


def assert_equal_but_for_rounding(result: np.ndarray, levels: np.ndarray, most: float = 0.001) -> None:
    """Equal after cutting off the fraction, but for ``most`` of the values, and those by one level."""
    difference = np.abs(result.astype(int) - np.clip(levels, 0, 255).astype(np.uint8))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= most


def slow_gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(image / 255, (sigma, sigma, 0), mode='nearest') * 255


def slow_defocus(image: np.ndarray, severity: int) -> np.ndarray:
    kernel = disk_kernel(*blur.DEFOCUS_RADIUS_AND_ALIAS_BLUR[severity - 1]).astype(np.float64)
    return ndimage.correlate(image / 255, kernel[..., None], mode='mirror') * 255


def slow_motion(image: np.ndarray, severity: int, angle: float) -> np.ndarray:
    """One shifted image after the other, in the published order of operations."""
    radius, sigma = blur.MOTION_RADIUS_AND_SIGMA[severity - 1]
    height, width = image.shape[:2]
    total = np.zeros(image.shape)
    for tap, weight in enumerate(motion_kernel(radius, sigma)):
        down = math.ceil(tap * math.sin(math.radians(angle)) - 0.5)
        right = math.ceil(tap * math.cos(math.radians(angle)) - 0.5)
        if abs(down) >= height or abs(right) >= width:
            break
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        total = total + weight * image[rows][:, columns]
    return total


def slow_zoom(image: np.ndarray, severity: int) -> np.ndarray:
    stop, step = blur.ZOOM_STOP_AND_STEP[severity - 1]
    source = (image / 255).astype(np.float32)
    height, width = image.shape[:2]
    total = np.zeros_like(source)
    factors = np.arange(1, stop, step)
    for factor in factors:
        rows, columns = math.ceil(height / factor), math.ceil(width / factor)
        top, left = (height - rows) // 2, (width - columns) // 2
        part = source[top : top + rows, left : left + columns]
        total += ndimage.zoom(part, (factor, factor, 1), order=1)[:height, :width]
    return (source + total) / (len(factors) + 1) * 255


def slow_displacement(source: np.ndarray, reach: int, sweeps: int, rng: np.random.Generator) -> np.ndarray:
    """The published loop over a 2-D array of pixels, fed with the draws in our order."""
    source = source.copy()
    height, width = source.shape
    for _ in range(sweeps):
        draws = rng.integers(0, (2 * reach) ** 2, (height - 2 * reach, width - 2 * reach), dtype=np.uint8)
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                draw = int(draws[row - reach - 1, column - reach - 1])
                down, right = draw // (2 * reach) - reach, draw % (2 * reach) - reach
                source[row, column] = source[row + down, column + right]
    return source


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('shape', SHAPES)
def test_gaussian_blur(shape, severity):
    image = random_image(*shape)
    expected = slow_gaussian(image, blur.GAUSSIAN_SIGMA[severity - 1])
    assert_equal_but_for_rounding(blur.gaussian_blur(image, severity, None), expected)


@pytest.mark.parametrize('severity', SEVERITIES)
def test_gaussian_blur_of_flat_images(severity):
    flat = np.broadcast_to(np.arange(256)[:, None, None], (256, 60, 60))
    sigma = blur.GAUSSIAN_SIGMA[severity - 1]
    expected = np.clip(ndimage.gaussian_filter(flat / 255, (0, sigma, sigma), mode='nearest'), 0, 1) * 255
    assert np.array_equal(blurred_levels(blur.gaussian_blur, severity), expected[:, 30, 30].astype(np.uint8))


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('shape', SHAPES)
def test_defocus_blur(shape, severity):
    image = random_image(*shape)
    assert_equal_but_for_rounding(blur.defocus_blur(image, severity, None), slow_defocus(image, severity))


@pytest.mark.parametrize('severity', [1, 2, 3])
def test_defocus_blur_darkens_flat_images_by_a_rounding_error(severity):
    assert np.array_equal(blurred_levels(blur.defocus_blur, severity), [0, *range(255)])


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('angle', [-45, -12.3, 0, 30, 45])
def test_motion_blur(angle, severity):
    for shape in SHAPES:  # the path is longer than 32 pixels at severity 5
        image = random_image(*shape)
        result = blur.motion_blur(image, severity, FixedAngle(angle))
        assert np.array_equal(result, np.clip(slow_motion(image, severity, angle), 0, 255).astype(np.uint8))


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('shape', SHAPES)
def test_zoom_blur(shape, severity):
    image = random_image(*shape)
    assert_equal_but_for_rounding(blur.zoom_blur(image, severity, None), slow_zoom(image, severity))


@pytest.mark.parametrize('severity', SEVERITIES)
def test_zoom_blur_of_flat_images(severity):
    level = (np.arange(256) / 255).astype(np.float32)
    stop, step = blur.ZOOM_STOP_AND_STEP[severity - 1]
    factors = np.arange(1, stop, step)
    total = np.zeros_like(level)
    for _ in factors:
        total += level
    expected = np.clip((level + total) / (len(factors) + 1), 0, 1) * 255
    assert np.array_equal(blurred_levels(blur.zoom_blur, severity), expected.astype(np.uint8))


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('shape', SHAPES)
def test_glass_blur_displaces_as_the_published_loop(shape, severity):
    _, reach, sweeps = blur.GLASS_SIGMA_REACH_AND_SWEEPS[severity - 1]
    start = np.arange(shape[0] * shape[1]).reshape(shape)
    expected = slow_displacement(start, reach, sweeps, np.random.default_rng(severity))
    result = blur._displace(start, reach, sweeps, np.random.default_rng(severity))
    assert np.array_equal(result, expected)
    assert len(np.unique(expected)) < 0.9 * expected.size  # pixels are lost: it is no swap


@pytest.mark.parametrize('severity', SEVERITIES)
def test_glass_blur_is_blur_displacement_blur(severity):
    image = random_image(40, 50)
    sigma, reach, sweeps = blur.GLASS_SIGMA_REACH_AND_SWEEPS[severity - 1]
    levels = slow_gaussian(image, sigma).astype(np.uint8)
    source = slow_displacement(np.arange(40 * 50).reshape(40, 50), reach, sweeps, np.random.default_rng(0))
    displaced = levels.reshape(-1, 3)[source]
    result = blur.glass_blur(image, severity, np.random.default_rng(0))
    difference = np.abs(result.astype(int) - slow_gaussian(displaced, sigma).astype(np.uint8))
    assert (difference > 0).mean() < 0.001
    assert difference.max() <= 1
