"""The corruptions by weather against the plain computations that they stand for."""

import importlib.metadata
import math

import cv2
import numpy as np
import pytest

from mmrobust.corruptions import weather
from mmrobust.corruptions.weather import DISTRIBUTION, FILES, frost_texture, plasma_fractal

ndimage = pytest.importorskip('scipy.ndimage')

SEVERITIES = range(1, 6)
SHAPES = [(32, 32), (33, 97), (70, 67)]

# OpenCV 4 interpolates at 32nds of a pixel, which moves an image by up to a 64th
exact_interpolation = pytest.mark.skipif(int(cv2.__version__.split('.')[0]) < 5, reason='needs OpenCV 5')


def random_image(height: int, width: int) -> np.ndarray:
    """Flat blocks on the left, noise on the right."""
    rng = np.random.default_rng(height)
    blocks = rng.integers(0, 256, (height // 9 + 1, width // 9 + 1, 3), dtype=np.uint8)
    image = np.ascontiguousarray(blocks.repeat(9, axis=0).repeat(9, axis=1)[:height, :width])
    image[:, width // 2 :] = rng.integers(0, 256, image[:, width // 2 :].shape, dtype=np.uint8)
    return image


def assert_close(result: np.ndarray, expected: np.ndarray, most: float) -> None:
    """Equal after cutting off the fraction, but for ``most`` of the values, and those by one level."""
    difference = np.abs(result.astype(int) - np.clip(expected, 0, 255).astype(np.uint8))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= most


def slow_flakes(noise: np.ndarray, severity: int, angle: float) -> np.ndarray:
    """Enlarge the noise and drag it along the angle, one pixel of the path at a time; on the scale of 1."""
    zoom, threshold = weather.SNOW_ZOOM_AND_THRESHOLD[severity - 1]
    radius, sigma = weather.SNOW_RADIUS_AND_SIGMA[severity - 1]
    layer = ndimage.zoom(noise, zoom, order=1)
    layer = np.clip(np.where(layer < threshold, 0, layer), 0, 1)
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    row, column = np.indices(layer.shape)
    result = np.zeros(layer.shape)
    for step, weight in enumerate(weights / weights.sum()):
        down = math.ceil(step * math.sin(math.radians(angle)) - 0.5)
        right = math.ceil(step * math.cos(math.radians(angle)) - 0.5)
        rows = np.clip(row + down, 0, layer.shape[0] - 1)
        columns = np.clip(column + right, 0, layer.shape[1] - 1)
        result += weight * layer[rows, columns]
    return result


@exact_interpolation
@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('shape', SHAPES)
def test_snow(severity, shape):
    image = random_image(*shape)
    mean, deviation = weather.SNOW_FLAKES[severity - 1]
    zoom, _ = weather.SNOW_ZOOM_AND_THRESHOLD[severity - 1]
    draws = np.random.default_rng(3)
    noise = draws.standard_normal([math.ceil(side / zoom) for side in shape], dtype=np.float32) * deviation + mean
    flakes = slow_flakes(noise, severity, draws.uniform(-135, -45))[: shape[0], : shape[1]]
    flakes = np.rint(flakes * 255)[..., None]

    weight = weather.SNOW_IMAGE[severity - 1]
    white = image @ np.array([0.299, 0.587, 0.114]) * 1.5 + 127.5
    whitened = weight * image + (1 - weight) * np.maximum(image, white[..., None])
    expected = whitened + flakes + flakes[::-1, ::-1]
    # cv2 interpolates with float32: flakes next to the threshold may fall on either side
    assert_close(weather.snow(image, severity, np.random.default_rng(3)), expected, 0.01)


def test_snow_lies_the_same_way_upside_down():
    snowed = weather.snow(np.zeros((60, 80, 3), np.uint8), 3, np.random.default_rng(0))
    assert np.array_equal(snowed, snowed[::-1, ::-1])
    assert snowed.std() > 0


@pytest.mark.parametrize('severity', SEVERITIES)
def test_frost_adds_a_texture(severity):
    image = random_image(33, 97)
    result = weather.frost(
        image, severity, np.random.default_rng(0), lambda index: np.full((8, 9, 3), (10, 99, 250), np.uint8)
    )
    percents = [round(100 * weight) for weight in weather.FROST_IMAGE_AND_TEXTURE[severity - 1]]
    hundredths = percents[0] * image.astype(int) + percents[1] * np.array([10, 99, 250])
    assert np.array_equal(result, np.minimum(hundredths // 100, 255))


def test_frost_draws_five_textures_and_any_part_of_them():
    """A texture that says where it is: red rises downwards, green to the right, blue is the index."""
    seen = set()

    def load_texture(index: int) -> np.ndarray:
        seen.add(index)
        down, right = np.indices((200, 220), dtype=np.uint8)
        return np.stack([down, right, np.full_like(down, 50 * index)], axis=-1)

    black = np.zeros((32, 40, 3), np.uint8)
    corners = []
    for seed in range(100):
        result = weather.frost(black, 2, np.random.default_rng(seed), load_texture)  # 0.6 of the texture
        corners.append(result[0, 0, :2] / 0.6)
        assert result[-1, -1, 0] - result[0, 0, 0] == pytest.approx(31 / 1.1 * 0.6, abs=2)  # enlarged by 1.1
        assert len(np.unique(result[..., 2])) == 1
    assert seen == set(range(5))
    assert np.min(corners, axis=0) == pytest.approx(0, abs=20)
    assert np.max(corners, axis=0) == pytest.approx([200 - 32 / 1.1, 220 - 40 / 1.1], abs=20)


def test_frost_enlarges_small_textures_to_cover_the_image():
    image = np.zeros((64, 300, 3), np.uint8)
    result = weather.frost(image, 1, np.random.default_rng(0), lambda index: np.full((40, 32, 3), 100, np.uint8))
    assert (result == 40).all()


@pytest.fixture
def forget_textures():
    frost_texture.cache_clear()
    yield
    frost_texture.cache_clear()


def test_frost_says_what_to_install(monkeypatch, forget_textures):
    def not_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'files', not_installed)
    with pytest.raises(FileNotFoundError, match=r'not installed: pip install imagecorruptions-imaug$'):
        weather.frost(random_image(32, 32), 1, np.random.default_rng(0))


@pytest.mark.parametrize('files', [None, []])
def test_frost_says_which_image_is_missing(monkeypatch, forget_textures, files):
    monkeypatch.setattr(importlib.metadata, 'files', lambda name: files)
    with pytest.raises(FileNotFoundError, match=r'frost3\.png .* --force-reinstall'):
        frost_texture(2)


def test_published_textures(forget_textures):
    try:
        importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f'{DISTRIBUTION} is not installed')
    shapes = [frost_texture(index).shape for index in range(len(FILES))]
    assert shapes == [(600, 900, 3), (315, 560, 3), (315, 560, 3), (350, 527, 3), (495, 660, 3)]
    assert frost_texture(0) is frost_texture(0)
    assert not frost_texture(0).flags.writeable
    red, _, blue = frost_texture(1).mean(axis=(0, 1))
    assert blue > red
    image = random_image(120, 176)
    assert weather.frost(image, 1, np.random.default_rng(0)).mean() > image.mean()


def slow_plasma(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Diamond-square, point by point."""
    points = {(0, 0): 0.0}
    step, amplitude = side, 1.0
    while step > 1:
        half = step // 2
        origins = [(y, x) for y in range(0, side, step) for x in range(0, side, step)]
        for corner, reach in (
            ((half, half), [(-half, -half), (-half, half), (half, -half), (half, half)]),
            ((0, half), [(0, -half), (0, half), (-half, 0), (half, 0)]),
            ((half, 0), [(0, -half), (0, half), (-half, 0), (half, 0)]),
        ):
            draws = rng.random((side // step, side // step), dtype=np.float32).ravel()
            for (y, x), draw in zip(origins, draws, strict=True):
                y, x = y + corner[0], x + corner[1]
                mean = sum(points[(y + dy) % side, (x + dx) % side] for dy, dx in reach) / 4
                points[y, x] = mean + amplitude * (2 * draw - 1)
        step, amplitude = half, amplitude / decay**2
    grid = np.array([[points[y, x] for x in range(side)] for y in range(side)])
    return (grid - grid.min()) / (grid.max() - grid.min())


@pytest.mark.parametrize('decay', [1.4, 2])
def test_plasma(decay):
    expected = slow_plasma(16, decay, np.random.default_rng(5))
    result = plasma_fractal(16, decay, np.random.default_rng(5))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert (result.min(), result.max()) == (0, 1)


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('shape', SHAPES)
def test_fog(severity, shape):
    image = random_image(*shape) // 2
    haze, decay = weather.FOG_HAZE_AND_DECAY[severity - 1]
    side = 2 ** math.ceil(math.log2(max(shape)))
    clouds = plasma_fractal(side, decay, np.random.default_rng(1))[: shape[0], : shape[1], None].astype(float)
    largest = image.max() / 255
    expected = (image + 255 * haze * clouds) * largest / (largest + haze)
    result = weather.fog(image, severity, np.random.default_rng(1))
    assert_close(result, expected, 0.001)
    assert result.max() <= image.max()


def test_fog_leaves_black_black():
    assert not weather.fog(np.zeros((32, 32, 3), np.uint8), 5, np.random.default_rng(0)).any()


class NoDrops:
    """A generator of noise that is its own mean."""

    def standard_normal(self, shape: tuple[int, int], dtype: type) -> np.ndarray:
        return np.zeros(shape, dtype)


@pytest.mark.parametrize('severity', (1, 2, 3))
def test_water_brightens_towards_its_colour(severity):
    image = random_image(256, 256) // 4
    added = weather.spatter(image, severity, np.random.default_rng(0)).astype(int) - image
    assert (added >= 0).all()
    strength = added / np.array(weather.WATER_RGB)
    assert strength.max() == pytest.approx(weather.SPATTER_WATER[severity - 1], abs=0.01)
    assert np.abs(strength - strength.mean(axis=-1, keepdims=True)).max() < 0.01

    # as many pixels are wet as there are of the smoothed noise above the threshold
    sigma, threshold = weather.SPATTER_SIGMA_AND_THRESHOLD[severity - 1]
    mean, deviation = weather.SPATTER_DROPS[severity - 1]
    smoothed_deviation = deviation / (2 * sigma * math.sqrt(math.pi))
    above = 0.5 * math.erfc((threshold - mean) / smoothed_deviation / math.sqrt(2))
    assert 0.5 * above < (added[..., 1] > 0).mean() < 1.3 * above


def test_without_water_the_image_stays_as_it_is():
    image = random_image(40, 50)
    result = weather.spatter(image, 1, NoDrops())
    assert np.array_equal(result, image)
    assert not np.shares_memory(result, image)


@pytest.mark.parametrize('severity', (4, 5))
@pytest.mark.parametrize('shape', SHAPES)
def test_mud(severity, shape):
    image = random_image(*shape)
    sigma, threshold = weather.SPATTER_SIGMA_AND_THRESHOLD[severity - 1]
    mean, deviation = weather.SPATTER_DROPS[severity - 1]
    noise = np.random.default_rng(2).standard_normal(shape, dtype=np.float32).astype(float) * deviation + mean
    mud = ndimage.gaussian_filter(noise, sigma, mode='nearest') > threshold
    opacity = ndimage.gaussian_filter(mud.astype(np.float32), 1.5, mode='nearest')
    opacity = np.where(opacity < 0.8, 0, opacity)[..., None]
    expected = image * (1 - opacity) + opacity * np.array(weather.MUD_RGB)
    assert_close(weather.spatter(image, severity, np.random.default_rng(2)), expected, 0.001)


@pytest.mark.parametrize(('name', 'severity'), [('snow', 2), ('fog', 2), ('spatter', 4)])
def test_work_in_strips_is_not_seen(monkeypatch, name, severity):
    image = random_image(70, 67)
    corruption = getattr(weather, name)
    expected = corruption(image, severity, np.random.default_rng(4))
    monkeypatch.setattr(weather, '_STRIP_PIXELS', 7 * 67)
    assert np.array_equal(corruption(image, severity, np.random.default_rng(4)), expected)
