"""From a canvas to an image: five kinds of weather and light over the same street.

All sums of light are done on linear intensities and encoded for the screen at the end.
"""

import cv2
import numpy as np

from .camera import Camera
from .canvas import SUPERSAMPLING, TRAIN_ID, Canvas
from .furniture import LAMP_HEIGHT, LAMP_REACH
from .noise import patch, sample, tile, wrap
from .street import Street

CONDITIONS = ('fog', 'night', 'rain', 'snow')  # the four of ACDC; 'clear' is the reference
# By severity, what the density of fog, the darkness of a night, and the amount of rain and snow are multiplied by.
STRENGTHS = {1: 0.3, 2: 0.6, 3: 1.0, 4: 1.6, 5: 2.5}
USUAL = 3  # the severity that the data set is written with

_LINEAR = ((np.arange(256, dtype=np.float32) / 255) ** 2.2).astype(np.float32)
# Light each kind of lamp sends to the camera, linear RGB: none, warm window, cool window, head light, tail light,
# lit sign, street lamp, red, amber and green signal.
_LAMPS = np.array(
    [(0, 0, 0), (0.55, 0.33, 0.12), (0.4, 0.46, 0.5), (4.5, 4.2, 3.6), (1.6, 0.05, 0.03), (1.2, 0.6, 0.08),
     (5.0, 3.6, 1.9), (2.4, 0.1, 0.05), (2.2, 1.1, 0.05), (0.1, 2.0, 0.7)], np.float32,
)  # fmt: skip
_BY_DAY = np.array([0, 0, 0, 0.12, 0.1, 0.15, 0, 0.4, 0.4, 0.4], np.float32)  # share of that seen by day
_SUN = np.array([1.95, 1.72, 1.4], np.float32)
_SKYLIGHT = np.array([0.34, 0.4, 0.5], np.float32)


def render(canvas: Canvas, street: Street, condition: str = 'clear', severity: int = USUAL) -> np.ndarray:
    """The image of a drawn street.

    Args:
        canvas: the drawn scene.
        street: its plan.
        condition: 'clear' or one of ``CONDITIONS``.
        severity: 1 (slight) to 5 of a condition; 'clear' has none. What is random about a condition is drawn as at
            every other severity.

    Returns:
        (height, width, 3) uint8 RGB, ``SUPERSAMPLING`` times smaller than the canvas.

    Raises:
        ValueError: for an unknown condition or severity.
    """
    draw = {'clear': _clear, 'fog': _fog, 'night': _night, 'rain': _rain, 'snow': _snow}.get(condition)
    if draw is None:
        raise ValueError(f"condition must be 'clear' or one of {CONDITIONS}, got {condition!r}")
    if severity not in STRENGTHS:
        raise ValueError(f'severity must be 1 to 5, got {severity!r}')
    number = ('clear', *CONDITIONS).index(condition)
    return draw(_View(canvas, street, np.random.default_rng([street.seed, 6, number])), STRENGTHS[severity])


def label_map(canvas: Canvas) -> np.ndarray:
    """(height, width) uint8 train ids at image size."""
    return np.ascontiguousarray(canvas.label[1::SUPERSAMPLING, 1::SUPERSAMPLING])


class _View:
    """A canvas at image size, in linear light."""

    def __init__(self, canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
        self.canvas, self.street, self.rng = canvas, street, rng
        scale = SUPERSAMPLING
        big = canvas.camera
        self.camera = Camera(
            big.width // scale, big.height // scale, big.focal / scale, big.horizon / scale, big.centre / scale, big.eye
        )
        self.size = (self.camera.width, self.camera.height)
        self.depth = np.ascontiguousarray(canvas.depth[1::scale, 1::scale])
        self.label = label_map(canvas)
        self.albedo = cv2.LUT(canvas.albedo, _LINEAR)
        self.sky = canvas.label == TRAIN_ID['sky']

    def small(self, image: np.ndarray) -> np.ndarray:
        """Average a map of canvas size down to image size."""
        return cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)

    def lit(self, sun: np.ndarray, sky: np.ndarray, albedo: np.ndarray | None = None) -> np.ndarray:
        """Reflected light, canvas size, under a sun and a sky of these linear colours; the sky keeps its own."""
        matrix = np.zeros((3, 4), np.float32)
        matrix[:, 0], matrix[:, 1] = sun / 255, sky / 255
        result = cv2.transform(self.canvas.light.astype(np.float32), matrix) * (
            self.albedo if albedo is None else albedo
        )
        np.copyto(result, self.albedo, where=self.sky[..., None])
        return result

    def lamps(self, share: np.ndarray | float = 1.0) -> np.ndarray:
        """Light sent out by lamps themselves, canvas size; ``share`` is one factor, or one for each kind (10,)."""
        kind = self.canvas.light[..., 3]
        emitted = np.zeros_like(self.albedo)
        on = kind > 0
        emitted[on] = (_LAMPS * np.reshape(share, (-1, 1)))[kind[on]]
        return emitted

    def noise(self, scale: float, seed: int = 2, octaves: int = 5) -> np.ndarray:
        """Smooth noise of image size, mean 0, deviation 1."""
        return patch(tile(seed, 4, octaves), self.size[1], self.size[0], scale, self.rng)


def _encode(linear: np.ndarray) -> np.ndarray:
    return np.round(255 * np.clip(linear, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def _expose(linear: np.ndarray, knee: float = 0.75) -> np.ndarray:
    """Roll off highlights above the knee, as a camera does."""
    over = np.maximum(linear - knee, 0)
    return np.minimum(linear, knee) + (1 - knee) * (1 - np.exp(-over / (1 - knee)))


def _bloom(image: np.ndarray, glow: np.ndarray, width: int, strength: float) -> np.ndarray:
    """Light scattered in the lens around lamps."""
    for radius, share in ((0.004, 0.5), (0.018, 0.35), (0.05, 0.15)):
        image = image + strength * share * cv2.GaussianBlur(glow, (0, 0), max(0.8, radius * width))
    return image


def _haze(image: np.ndarray, depth: np.ndarray, density: np.ndarray | float, airlight: np.ndarray) -> np.ndarray:
    """Koschmieder's law: I = J t + A (1 - t) with t = exp(-density * depth)."""
    through = np.exp(-density * depth)[..., None]
    return image * through + airlight * (1 - through)


def _clear(view: _View, _: float) -> np.ndarray:
    image = view.small(view.lit(_SUN, _SKYLIGHT) + view.lamps(_BY_DAY))
    solid = view.label != TRAIN_ID['sky']
    hazy = _haze(image, np.minimum(view.depth, 500), 0.0012, np.array([0.6, 0.66, 0.72], np.float32))
    np.copyto(image, hazy, where=solid[..., None])
    return _encode(_expose(image) + view.rng.normal(0, 0.002, image.shape).astype(np.float32))


def _overcast_sky(view: _View, brightness: float, contrast: float) -> np.ndarray:
    """Grey clouds, (height, width, 3) linear."""
    clouds = brightness * (1 + contrast * view.noise(0.5))
    rows = np.linspace(0.92, 1.06, view.size[1], dtype=np.float32)[:, None]
    return (clouds * rows)[..., None] * np.array([0.97, 1.0, 1.03], np.float32)


def _with_sky(view: _View, image: np.ndarray, sky: np.ndarray) -> np.ndarray:
    share = view.small(view.sky.astype(np.float32))[..., None]
    return image * (1 - share) + sky * share


def _unlit_sky(view: _View, linear: np.ndarray) -> np.ndarray:
    linear[view.sky] = 0
    return view.small(linear)


def _fog(view: _View, strength: float) -> np.ndarray:
    rng = view.rng
    air = rng.uniform(0.5, 0.68) * np.array([0.98, 1.0, 1.01], np.float32)
    grey = np.full(3, 0.78, np.float32)
    image = _unlit_sky(view, view.lit(0.06 * _SUN, grey) + view.lamps(_BY_DAY * 3))
    image = _with_sky(view, image, np.broadcast_to(air, image.shape))
    density = 3 / rng.uniform(55, 150) * (1 + 0.12 * view.noise(0.35))
    image = _haze(image, view.depth, np.maximum(density, 0.005) * strength, air)
    return _encode(_expose(image, 0.85) + rng.normal(0, 0.004, image.shape).astype(np.float32))


def _world(view: _View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World x, y, z of every pixel at image size."""
    camera = view.camera
    columns = np.arange(view.size[0], dtype=np.float32)[None] + 0.5
    rows = np.arange(view.size[1], dtype=np.float32)[:, None] + 0.5
    z = np.minimum(view.depth, 600)
    return (columns - camera.centre) * z / camera.focal, camera.eye + (camera.horizon - rows) * z / camera.focal, z


def _night(view: _View, strength: float) -> np.ndarray:
    rng, street = view.rng, view.street
    x, y, z = _world(view)
    up = view.small(view.canvas.light[..., 2]).astype(np.float32) / 255
    warm = np.array([1.0, 0.72, 0.42], np.float32) if rng.random() < 0.7 else np.array([0.9, 0.95, 1.0], np.float32)
    reach = np.zeros_like(z)
    for thing in street.things:
        if thing.kind != 'lamp':
            continue
        foot = street.place(thing.u, thing.s)
        dx = x - (foot[0] - LAMP_REACH * np.cos(thing.heading))
        dy, dz = LAMP_HEIGHT - y, z - foot[1]
        square = dx * dx + dy * dy + dz * dz + 1.0
        below = np.clip(dy / np.sqrt(square), 0, 1)  # lamps shine downwards
        reach += 20 * below * (0.35 + 0.65 * up * below) / square
    beam = np.exp(-((x / (0.32 * z + 1)) ** 2)) * np.exp(-((np.maximum(y - 0.7, 0) / (0.05 * z + 0.3)) ** 2))
    head = 26 * beam * (1 - np.exp(-z / 6)) / (z * z / 9 + 14) * (1 - 0.55 * up)
    light = reach[..., None] * warm * 0.55 + head[..., None] * np.array([1, 0.96, 0.88], np.float32)
    light += np.array([0.012, 0.015, 0.024], np.float32)
    sky_open = view.small(view.canvas.light[..., 1]).astype(np.float32)[..., None] / 255
    surface = view.albedo.copy()
    surface[view.sky] = 0
    emitted = view.lamps()
    image = view.small(surface) * light * (0.4 + 0.6 * sky_open)
    rows = np.linspace(0.25, 1.3, view.size[1], dtype=np.float32)[:, None, None]
    dome = np.array([0.010, 0.011, 0.019], np.float32) * rows * (1 + 0.2 * view.noise(0.5)[..., None])
    image = _with_sky(view, image, dome)
    glow = view.small(emitted)
    image = _bloom(image + 0.8 * glow, glow, view.size[0], 0.9)
    gain = rng.uniform(0.55, 1.05) / strength
    image = _expose(gain * image, 0.6)
    electrons = np.maximum(image, 0) * 900 + 6
    image = image + rng.normal(0, 1, image.shape).astype(np.float32) * np.sqrt(electrons) / 900
    return _encode(image)


def _mirrored(view: _View, image: np.ndarray) -> np.ndarray:
    """Reflection on wet ground: every upright pixel is mirrored below its foot."""
    height, width = view.depth.shape
    upright = ~np.isin(view.label, [TRAIN_ID[name] for name in ('road', 'sidewalk', 'terrain')]) & (view.depth > 2)
    rows, columns = np.nonzero(upright)
    depth = view.depth[rows, columns]
    target = np.round(2 * view.camera.base_row(depth) - rows).astype(int)
    inside = (target >= 0) & (target < height)
    rows, columns, target, depth = rows[inside], columns[inside], target[inside], depth[inside]
    order = np.argsort(-depth, kind='stable')  # nearer things are written last
    rows, columns, target = rows[order], columns[order], target[order]
    seen = np.zeros((height, width, 4), np.float32)
    seen[target, columns, :3] = image[rows, columns]
    seen[target, columns, 3] = 1
    seen = cv2.GaussianBlur(seen, (0, 0), sigmaX=max(0.6, width / 400), sigmaY=max(1.0, height / 36))
    return seen[..., :3] / np.maximum(seen[..., 3:], 0.05)


def _rain(view: _View, strength: float) -> np.ndarray:
    rng = view.rng
    wet = view.albedo.copy()
    ground = np.isin(view.canvas.label, (0, 1, 9))
    wet[ground] *= 0.52
    dim = rng.uniform(0.3, 0.48) * strength**-0.4  # heavier rain, darker clouds
    linear = view.lit(0.02 * _SUN, dim * np.array([0.95, 1.0, 1.06], np.float32), wet)
    image = _unlit_sky(
        view, linear + view.lamps(np.maximum(_BY_DAY * 3, [0, 0.3, 0.3, 0.5, 0.6, 0.5, 0, 0.8, 0.8, 0.8]))
    )
    sky = _overcast_sky(view, dim * 0.85, 0.16)
    image = _with_sky(view, image, sky)
    glow = view.small(view.lamps(np.array([0, 0.3, 0.2, 0.6, 0.5, 0.4, 0, 0.6, 0.6, 0.6])))
    image = _bloom(image, glow, view.size[0], 0.4)
    puddle = np.clip(0.55 + 0.35 * view.noise(0.9), 0.12, 1)
    grazing = np.clip(0.16 + 0.5 * np.minimum(view.depth, 60) / 60, 0, 0.66)
    asphalt = (view.label == TRAIN_ID['road']) | (view.label == TRAIN_ID['sidewalk'])
    share = cv2.GaussianBlur((asphalt * puddle * grazing).astype(np.float32), (0, 0), 0.7)[..., None]
    image = image * (1 - share * 0.75) + _mirrored(view, image) * share
    image = _haze(image, np.minimum(view.depth, 300), 0.008 * strength, sky.mean((0, 1)))
    image = _streaks(image, rng, dim, strength)
    image = _droplets(image, rng, strength)
    return _encode(_expose(image, 0.85) + rng.normal(0, 0.004, image.shape).astype(np.float32))


def _streaks(image: np.ndarray, rng: np.random.Generator, brightness: float, strength: float) -> np.ndarray:
    height, width = image.shape[:2]
    drops = np.zeros((height, width), np.float32)
    slant = rng.uniform(-0.2, 0.2)
    for _ in range(int(width * height / 420 * strength)):
        x, y = rng.uniform(0, width), rng.uniform(-0.1 * height, height)
        length = height * rng.uniform(0.02, 0.075)
        start, stop = (round(x), round(y)), (round(x + slant * length), round(y + length))
        cv2.line(drops, start, stop, float(rng.uniform(0.15, 0.5)), 1)
    drops = cv2.GaussianBlur(drops, (0, 0), 0.6)[..., None]
    return image + drops * (0.5 * brightness + 0.1)


def _droplets(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Drops on the lens: each shows a blurred, upside-down piece of the scene."""
    height, width = image.shape[:2]
    blurred = cv2.GaussianBlur(image, (0, 0), width / 80)[::-1]
    mask = np.zeros((height, width), np.float32)
    rim = np.zeros_like(mask)
    for _ in range(round(rng.integers(4, 16) * strength)):
        middle = (int(rng.integers(width)), int(rng.integers(height)))
        radius = max(1, round(width * rng.uniform(0.004, 0.014)))
        cv2.ellipse(mask, middle, (radius, round(radius * rng.uniform(1, 1.5))), 0, 0, 360, 0.85, -1)
        cv2.ellipse(rim, (middle[0], middle[1] + radius // 2), (radius, radius), 0, 20, 160, 0.2, 1)
    mask = cv2.GaussianBlur(mask, (0, 0), 0.8)[..., None]
    return image * (1 - mask) + blurred * mask + cv2.GaussianBlur(rim, (0, 0), 0.7)[..., None]


def _snow(view: _View, strength: float) -> np.ndarray:
    rng, canvas = view.rng, view.canvas
    big = canvas.camera
    up = canvas.light[..., 2].astype(np.float32) / 255
    along = np.minimum(canvas.depth, 300)
    across = (np.arange(big.width, dtype=np.float32)[None] - big.centre) * along / big.focal
    u = across - view.street.bend(along)
    rough = sample(tile(2, 4, 5), u * 14, along * 7)
    cover = np.clip((up - 0.42 + 0.1 * rough) * 4, 0, 1)
    road = canvas.label == TRAIN_ID['road']
    within = wrap(u, view.street.lane) / view.street.lane
    tracks = np.exp(-(((within - 0.25) / 0.12) ** 2)) + np.exp(-(((within - 0.75) / 0.12) ** 2))
    slush = np.clip(rng.uniform(0.35, 0.9) * strength - 0.75 * tracks + 0.16 * rough, 0.05, 0.95)
    cover = np.where(road, slush, cover * min(strength, 1.0))[..., None]
    white = np.array([0.86, 0.89, 0.93], np.float32) * (1 + 0.03 * rough[..., None])
    albedo = view.albedo * (1 - cover) + white * cover
    dim = rng.uniform(0.66, 0.84)
    linear = view.lit(0.03 * _SUN, dim * np.array([0.97, 1.0, 1.04], np.float32), albedo)
    image = _unlit_sky(view, linear + view.lamps(_BY_DAY * 2))
    sky = _overcast_sky(view, dim * 0.8, 0.06)
    image = _with_sky(view, image, sky)
    image = _haze(image, np.minimum(view.depth, 300), rng.uniform(0.006, 0.014) * strength, sky.mean((0, 1)))
    return _encode(_expose(_flakes(image, rng, strength), 0.85))


def _flakes(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    height, width = image.shape[:2]
    wind = rng.uniform(-0.6, 0.6)
    for radius, count, blur in ((0.0016, 500, 0.5), (0.003, 110, 0.8), (0.007, 14, 2.0)):
        layer = np.zeros((height, width), np.float32)
        for _ in range(int(count * rng.uniform(0.5, 1.3) * strength)):
            x, y = int(rng.integers(width)), int(rng.integers(height))
            size = max(0.5, radius * width)
            stop = (round(x + wind * size), round(y + size))
            cv2.line(layer, (x, y), stop, float(rng.uniform(0.5, 1.0)), max(1, round(size)))
        layer = cv2.GaussianBlur(layer, (0, 0), max(0.5, blur * width / 512))[..., None]
        image = image * (1 - 0.8 * layer) + 0.92 * 0.8 * layer
    return image
