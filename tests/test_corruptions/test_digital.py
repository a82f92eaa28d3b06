"""The digital corruptions against the plain computations that they stand for."""

import colorsys

import cv2
import numpy as np
import pytest

from mmrobust.corruptions import digital

ndimage = pytest.importorskip('scipy.ndimage')

SEVERITIES = range(1, 6)
SHAPES = [(32, 32), (33, 97), (70, 67)]
RNG = np.random.default_rng(0)  # for those that must not care

# OpenCV 4 interpolates at 32nds of a pixel, which moves an image by up to a 64th
exact_interpolation = pytest.mark.skipif(int(cv2.__version__.split('.')[0]) < 5, reason='needs OpenCV 5')


def random_image(height: int, width: int) -> np.ndarray:
    """Flat blocks on the left, black, white and grey ones among them; noise on the right."""
    rng = np.random.default_rng(height)
    blocks = rng.integers(0, 256, (height // 9 + 1, width // 9 + 1, 3), dtype=np.uint8)
    blocks[0, 0], blocks[1, 0], blocks[2, 0] = 0, 255, 100
    image = np.ascontiguousarray(blocks.repeat(9, axis=0).repeat(9, axis=1)[:height, :width])
    image[:, width // 2 :] = rng.integers(0, 256, image[:, width // 2 :].shape, dtype=np.uint8)
    return image


def assert_close(result: np.ndarray, expected: np.ndarray, most: float) -> None:
    """Equal but for ``most`` of the values, and those by one level."""
    assert result.shape == expected.shape
    difference = np.abs(result.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= most


def pixel_by_pixel(image: np.ndarray, change) -> np.ndarray:
    """Apply a function of (hue, saturation, value) to each pixel; real-valued grey levels."""
    out = np.empty(image.shape)
    for place in np.ndindex(image.shape[:2]):
        hsv = change(*colorsys.rgb_to_hsv(*(image[place] / 255).tolist()))
        out[place] = colorsys.hsv_to_rgb(*hsv)
    return out * 255


@pytest.mark.parametrize('severity', SEVERITIES)
def test_brightness_is_hsv_value(severity):
    image = random_image(32, 40)
    added = 0.1 * severity
    expected = pixel_by_pixel(image, lambda h, s, v: (h, s, min(v + added, 1)))
    # whole levels are cut off by chance of rounding, so look at the level before cutting
    result = digital.brightness(image, severity, RNG)
    assert (result <= expected + 1e-6).all()
    assert (expected - result <= 1 + 1e-6).all()


@pytest.mark.parametrize('severity', SEVERITIES)
def test_saturate_is_hsv_saturation(severity):
    image = random_image(32, 40)
    factor, added = digital.SATURATE_FACTOR_AND_ADDED[severity - 1]
    expected = pixel_by_pixel(image, lambda h, s, v: (h, min(s * factor + added, 1), v))
    result = digital.saturate(image, severity, RNG)
    assert (result <= expected + 1e-6).all()
    assert (expected - result <= 1 + 1e-6).all()


def test_saturate_turns_grey_reddish_where_published():
    grey = np.full((32, 32, 3), 100, np.uint8)
    for severity, expected in ((1, [100] * 3), (3, [100] * 3), (4, [100, 90, 90]), (5, [100, 80, 80])):
        assert (digital.saturate(grey, severity, RNG) == expected).all()


def test_hue_survives_brightness():
    """The middle channel stays at the same part of the way between the other two."""
    image = np.full((32, 32, 3), (40, 80, 120), np.uint8)
    red, green, blue = digital.brightness(image, 2, RNG)[0, 0].astype(int)
    assert (blue, red) == (171, 57)
    assert green == (blue + red) // 2


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('shape', SHAPES)
def test_contrast(severity, shape):
    image = random_image(*shape)
    image[..., 1] = image[..., 1] // 51 * 51  # with levels that come out whole but for rounding
    unit = image / 255
    mean = unit.mean(axis=(0, 1))
    expected = np.clip((unit - mean) * digital.CONTRAST_FACTOR[severity - 1] + mean, 0, 1) * 255
    assert np.array_equal(digital.contrast(image, severity, RNG), expected.astype(np.uint8))


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('shape', [*SHAPES, (97, 33), (154, 79)])
def test_pixelate_is_pillow(severity, shape):
    pillow = pytest.importorskip('PIL.Image')
    image = random_image(*shape)
    part = digital.PIXELATE_SIDE[severity - 1]
    small = int(shape[1] * part), int(shape[0] * part)
    expected = pillow.fromarray(image).resize(small, pillow.BOX).resize(shape[::-1], pillow.NEAREST)
    # Pillow 13 averages tall images in another order than those before it
    most = 0.3 if shape[0] > 2 * shape[1] else 0
    assert_close(digital.pixelate(image, severity, RNG), np.asarray(expected), most)
    if most == 0:
        assert np.array_equal(digital.pixelate(image, severity, RNG), np.asarray(expected))


def test_pixelate_quarters_are_means_of_blocks():
    image = random_image(40, 48)
    means = image.reshape(10, 4, 12, 4, 3).mean(axis=(1, 3))
    result = digital.pixelate(image, 5, RNG).reshape(10, 4, 12, 4, 3)
    assert (result == result[:, :1, :, :1]).all()
    assert np.abs(result[:, 0, :, 0] - means).max() <= 1  # rounded twice


@pytest.mark.parametrize('severity', SEVERITIES)
def test_jpeg_is_of_the_published_quality(severity, tmp_path):
    pillow = pytest.importorskip('PIL.Image')
    image = random_image(33, 97)
    path = tmp_path / 'image.jpg'
    pillow.fromarray(image).save(path, quality=digital.JPEG_QUALITY[severity - 1])
    assert_close(digital.jpeg_compression(image, severity, RNG), np.asarray(pillow.open(path)), 0.01)


def test_jpeg_keeps_red_red():
    image = np.full((32, 32, 3), (200, 30, 20), np.uint8)
    assert np.abs(digital.jpeg_compression(image, 1, RNG).astype(int) - image).max() < 20


@exact_interpolation
@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('shape', SHAPES)
def test_elastic_transform(severity, shape):
    image = random_image(*shape)
    draws = np.random.default_rng(7)
    noise = [(draws.random(shape, dtype=np.float32) - 0.5) * 0.01 * shape[0] for _ in range(2)]
    sigma = 0.01 * np.array(shape)
    right, down = (
        ndimage.gaussian_filter(field.astype(float), sigma, mode='reflect', truncate=3)
        * digital.ELASTIC_FACTOR[severity - 1]
        for field in noise
    )
    row, column = np.indices(shape)
    channels = [
        ndimage.map_coordinates(channel.astype(np.float32), (row + down, column + right), order=1, mode='reflect')
        for channel in cv2.split(image)
    ]
    result = digital.elastic_transform(image, severity, np.random.default_rng(7))
    assert_close(result, np.stack(channels, axis=-1).astype(np.uint8), 0.001)


def test_elastic_transform_leaves_flat_areas_alone():
    image = np.full((40, 50, 3), (255, 77, 0), np.uint8)
    assert np.array_equal(digital.elastic_transform(image, 5, np.random.default_rng(0)), image)


@pytest.mark.parametrize('name', ['brightness', 'saturate', 'pixelate'])
@pytest.mark.parametrize('shape', [*SHAPES, (97, 33)])
def test_work_in_strips_is_not_seen(monkeypatch, name, shape):
    image = random_image(*shape)
    corruption = getattr(digital, name)
    expected = [corruption(image, severity, RNG) for severity in SEVERITIES]
    monkeypatch.setattr(digital, '_STRIP_PIXELS', 7 * shape[1])
    for severity in SEVERITIES:
        assert np.array_equal(corruption(image, severity, RNG), expected[severity - 1])
