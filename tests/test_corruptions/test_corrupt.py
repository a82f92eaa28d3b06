"""What all corruptions promise, and what :func:`corrupt` refuses."""

import numpy as np
import pytest

from mmrobust.corruptions import CORRUPTIONS, EXTRA, GROUPS, SEVERITIES, corrupt

DETERMINISTIC = {
    'defocus_blur',
    'zoom_blur',
    'brightness',
    'contrast',
    'pixelate',
    'jpeg_compression',
    'gaussian_blur',
    'saturate',
}


def random_image(height: int = 33, width: int = 97) -> np.ndarray:
    """Coloured blocks, black and white ones among them, and noise on the right."""
    noise = np.random.default_rng(0)
    blocks = noise.integers(0, 256, (height // 5 + 1, width // 5 + 1, 3), dtype=np.uint8)
    blocks[0, 0], blocks[1, 1] = 0, 255
    image = np.ascontiguousarray(blocks.repeat(5, axis=0).repeat(5, axis=1)[:height, :width])
    image[:, width // 2 :] = noise.integers(0, 256, image[:, width // 2 :].shape, dtype=np.uint8)
    return image


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_published_order_and_groups():
    assert len(CORRUPTIONS) == 19
    benchmark = [name for names in GROUPS.values() for name in names]
    assert list(CORRUPTIONS) == benchmark + list(EXTRA)
    assert set(EXTRA.values()) == set(GROUPS)


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('name', CORRUPTIONS)
@pytest.mark.parametrize('shape', [(32, 32), (33, 97), (97, 33)])
def test_any_size_from_32_pixels(name, severity, shape):
    image = random_image(*shape)
    before = image.copy()
    result = corrupt(image, name, severity, rng())
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert not np.array_equal(result, image)
    assert np.array_equal(image, before)
    assert not np.shares_memory(result, image)


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_randomness_comes_from_the_generator_alone(name):
    image = random_image()
    global_state = np.random.get_state()[1].copy()
    first, again, other = (corrupt(image, name, 3, rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (name in DETERMINISTIC)
    assert np.array_equal(np.random.get_state()[1], global_state)


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_a_view_is_as_good_as_an_array(name):
    image = random_image()
    view = np.ascontiguousarray(image[::-1, :, ::-1])[::-1, :, ::-1]
    assert not view.flags.c_contiguous
    assert np.array_equal(corrupt(view, name, 2, rng()), corrupt(image, name, 2, rng()))


@pytest.mark.parametrize('level', [0, 255])
@pytest.mark.parametrize('name', CORRUPTIONS)
def test_black_and_white_images(name, level):
    result = corrupt(np.full((40, 50, 3), level, np.uint8), name, 5, rng())
    assert result.shape == (40, 50, 3)


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_bgr_profile_sees_red_and_blue_exchanged(name):
    image = random_image()
    exchanged = np.ascontiguousarray(image[..., ::-1])
    result = corrupt(image, name, 3, rng(), profile='bgr')
    assert np.array_equal(result, corrupt(exchanged, name, 3, rng())[..., ::-1])
    assert result.flags.c_contiguous


@pytest.mark.parametrize('name', ['snow', 'frost', 'spatter', 'jpeg_compression'])
def test_bgr_profile_changes_what_treats_the_channels_differently(name):
    image = random_image()
    severity = 4  # spatter is mud from here on
    assert not np.array_equal(
        corrupt(image, name, severity, rng(), profile='bgr'), corrupt(image, name, severity, rng())
    )


def test_severity_may_be_a_numpy_integer():
    image = random_image()
    assert np.array_equal(corrupt(image, 'contrast', np.int64(2), rng()), corrupt(image, 'contrast', 2, rng()))


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"corruption must be one of gaussian_noise, .*, saturate, got 'rain'"):
        corrupt(random_image(), 'rain', 1, rng())


@pytest.mark.parametrize('severity', [0, 6, -1])
def test_severity_out_of_range(severity):
    with pytest.raises(ValueError, match=rf'severity must be an integer from 1 to 5, got {severity}'):
        corrupt(random_image(), 'fog', severity, rng())


@pytest.mark.parametrize('severity', [2.0, '3', True, None])
def test_severity_of_another_type(severity):
    with pytest.raises(TypeError, match='severity must be an integer from 1 to 5, got '):
        corrupt(random_image(), 'fog', severity, rng())


def test_unknown_profile():
    with pytest.raises(ValueError, match="profile must be one of rgb, bgr, got 'BGR'"):
        corrupt(random_image(), 'fog', 1, rng(), profile='BGR')


@pytest.mark.parametrize('generator', [None, 3, np.random.RandomState(0)])
def test_generator_of_another_type(generator):
    with pytest.raises(TypeError, match=r'rng must be a numpy\.random\.Generator, got '):
        corrupt(random_image(), 'fog', 1, generator)


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ((40, 50), r'image must be RGB \(H, W, 3\), got shape \(40, 50\) \(greyscale\)'),
        ((40, 50, 1), r'image must be RGB \(H, W, 3\), got shape \(40, 50, 1\) \(greyscale\)'),
        ((40, 50, 4), r'image must be RGB \(H, W, 3\), got shape \(40, 50, 4\) \(RGBA\)'),
        ((2, 40, 50, 3), r'image must be RGB \(H, W, 3\), got shape \(2, 40, 50, 3\)'),
        ((), r'image must be RGB \(H, W, 3\), got shape \(\)'),
        ((40,), r'image must be RGB \(H, W, 3\), got shape \(40,\)'),
        ((3, 40, 50), r'image must be RGB \(H, W, 3\), got shape \(3, 40, 50\)'),
        ((31, 50, 3), r'image must be at least 32 x 32 pixels, got 50 x 31 \(W x H\)'),
        ((50, 31, 3), r'image must be at least 32 x 32 pixels, got 31 x 50 \(W x H\)'),
    ],
)
def test_shape_of_the_image(shape, message):
    with pytest.raises(ValueError, match=message):
        corrupt(np.zeros(shape, np.uint8), 'fog', 1, rng())


@pytest.mark.parametrize('dtype', ['uint16', 'int16', 'float32', 'float64', 'bool'])
def test_number_type_of_the_image(dtype):
    with pytest.raises(TypeError, match=f'image must be uint8 with values from 0 to 255, got {dtype}'):
        corrupt(np.zeros((40, 50, 3), dtype), 'fog', 1, rng())


def test_image_that_is_no_array():
    with pytest.raises(TypeError, match=r'image must be a numpy array .*, got list'):
        corrupt(random_image().tolist(), 'fog', 1, rng())
