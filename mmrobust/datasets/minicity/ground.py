"""The ground, one world position per pixel: road, markings, kerbs, paving, lawns, and the shadows that fall on it."""

from collections.abc import Sequence

import cv2
import numpy as np

from .camera import Camera
from .canvas import TRAIN_ID, Canvas
from .noise import sample, tile, wrap
from .street import Side, Street

ROAD, MARKING, RAIL, KERB, PAVING, LAWN = range(6)
_LABELS = np.array([TRAIN_ID[name] for name in ('road', 'road', 'road', 'sidewalk', 'sidewalk', 'terrain')], np.uint8)


def shadow_masks(
    camera: Camera, offset: np.ndarray, bodies: Sequence[tuple[np.ndarray, float, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Where the ground is shaded, and where it lies close to something standing on it.

    Args:
        camera: the projection.
        offset: (2,) displacement of the shadow of a point one metre high.
        bodies: footprint (N, 2) as world (x, z), lowest and highest point above the ground.

    Returns:
        Two float32 maps (height, width), 0..1.
    """
    cast = np.zeros((camera.height, camera.width), np.uint8)
    contact = np.zeros_like(cast)
    for footprint, low, high in bodies:
        shadow = np.concatenate((footprint + low * offset, footprint + high * offset))
        _fill(camera, cast, cv2.convexHull(shadow.astype(np.float32))[:, 0])
        if low == 0:
            middle = footprint.mean(0)
            _fill(camera, contact, middle + (footprint - middle) * 1.04 + np.sign(footprint - middle) * 0.12)
    radius = camera.width / 512
    cast = cv2.GaussianBlur(cast, (0, 0), radius)
    contact = cv2.GaussianBlur(contact, (0, 0), 3 * radius)
    return cast.astype(np.float32) / 255, contact.astype(np.float32) / 255


def _fill(camera: Camera, mask: np.ndarray, outline: np.ndarray) -> None:
    points = camera.clip(np.stack((outline[:, 0], np.zeros(len(outline)), outline[:, 1]), 1))
    if len(points) >= 3:
        corners = np.clip(camera.project(points), -20000, 20000)
        cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, shift=4)


def draw_ground(canvas: Canvas, street: Street, bodies: Sequence[tuple[np.ndarray, float, float]]) -> None:
    """Paint everything below the horizon."""
    camera = canvas.camera
    top = int(np.floor(camera.horizon)) + 1
    rows = np.arange(top, camera.height, dtype=np.float32)
    s = np.minimum(camera.ground_depth(rows + 0.5), 900).astype(np.float32)[:, None]
    x = (np.arange(camera.width, dtype=np.float32)[None] - camera.centre) * s / camera.focal
    u = x - street.bend(s).astype(np.float32)
    pixel = s / camera.focal  # metres per pixel across; along it is s / eye times larger

    rng = np.random.default_rng([street.seed, 2])
    fine = sample(tile(1, 64, 3), u * 60, s * 60) * np.clip(1.2 - pixel * 40, 0, 1)
    coarse = sample(tile(2, 4, 5), u * 9 + rng.uniform(0, 256), s * 4)
    zone = np.where(u < 0, _zones(u, s, street.left, street), _zones(u, s, street.right, street))
    value = np.ones_like(u)
    _road(zone, value, u, s, street, rng)
    _paving(zone, value, u, s, pixel, street, rng)

    grey = rng.uniform(92, 122)
    stone = rng.uniform(150, 176)
    green = rng.uniform(0, 1)
    palette = np.array(
        [
            (grey, grey, grey * rng.uniform(0.98, 1.05)),
            (216, 216, 208),
            (70, 66, 64),
            (stone + 18, stone + 16, stone + 8),
            (stone, stone * rng.uniform(0.94, 0.98), stone * rng.uniform(0.85, 0.95)),
            (84 + 32 * green, 112 + 10 * green, 52),
        ],
        np.float32,
    )
    grain = np.array([0.035, 0.03, 0.03, 0.03, 0.025, 0.15], np.float32)[zone]
    cloud = np.array([0.045, 0.09, 0.02, 0.04, 0.045, 0.11], np.float32)[zone]
    value *= np.maximum(1 + grain * fine + cloud * coarse, 0.2)
    shade, contact = shadow_masks(camera, canvas.sun.shadow_offset(), bodies)
    canvas.albedo[top:] = np.clip(palette[zone] * value[..., None], 0, 255)
    canvas.label[top:] = _LABELS[zone]
    canvas.depth[top:] = s
    canvas.light[top:, :, 0] = 255 * canvas.toward_sun[1] * (1 - shade[top:])
    canvas.light[top:, :, 1] = 255 * (1 - 0.68 * contact[top:]) * (1 - 0.12 * shade[top:])
    canvas.light[top:, :, 2] = 255
    canvas.light[top:, :, 3] = 0


def _zones(u: np.ndarray, s: np.ndarray, side: Side, street: Street) -> np.ndarray:
    """Zone of every pixel as if the whole ground lay on one side of the road."""
    away = np.abs(u)
    edge = np.full_like(s, side.kerb)
    if street.crossing is not None:
        start, stop = street.crossing
        radius = 3.0
        edge[(s >= start) & (s <= stop)] = 1e6
        for into in (s - (start - radius), (stop + radius) - s):
            corner = (into > 0) & (into < radius)
            edge = np.where(corner, side.kerb + radius - np.sqrt(np.maximum(radius**2 - into**2, 0)), edge)
    lawn = np.zeros_like(s, bool)
    for plot in side.plots:
        lawn |= (s >= plot.start) & (s <= plot.stop) & (plot.kind != 'house')
    zone = np.where(away < edge, ROAD, PAVING)
    zone = np.where((away >= edge) & (away < edge + 0.28), KERB, zone)
    verge = (away > side.kerb + 0.28) & (away < side.kerb + side.verge) & (edge <= side.kerb)
    verge &= wrap(s, 13.0) > 2.2  # paved passages across the verge
    return np.where(verge | ((away > side.front) & lawn), LAWN, zone)


def _road(
    zone: np.ndarray, value: np.ndarray, u: np.ndarray, s: np.ndarray, street: Street, rng: np.random.Generator
) -> None:
    """Wheel tracks, repairs, gutters, rails and painted markings."""
    road = zone == ROAD
    lane = street.lane
    within = wrap(u, lane) / lane
    tracks = np.exp(-(((within - 0.25) / 0.09) ** 2)) + np.exp(-(((within - 0.75) / 0.09) ** 2))
    value *= np.where(road, 1 - 0.05 * tracks, 1)
    for _ in range(rng.integers(1, 6)):
        left, near = rng.uniform(-street.left.kerb, street.right.kerb - 1), rng.uniform(4, 40)
        patch = (u > left) & (u < left + rng.uniform(0.6, 2.2)) & (s > near) & (s < near + rng.uniform(1, 9))
        value *= np.where(patch & road, rng.choice([0.82, 0.9, 1.09]), 1)
    for _ in range(rng.integers(1, 4)):
        middle, near = rng.uniform(-street.left.kerb + 0.6, street.right.kerb - 0.6), rng.uniform(6, 25)
        radius = (u - middle) ** 2 + (s - near) ** 2
        value *= np.where(road & (radius < 0.11), 0.55, 1) * np.where(road & (np.abs(radius - 0.11) < 0.025), 0.7, 1)
    gutter = np.minimum(np.abs(u - street.right.kerb), np.abs(u + street.left.kerb)) < 0.22
    value *= np.where(road & gutter, 0.8, 1)

    clear = street.crossing is None
    outside = np.ones_like(s, bool) if clear else (s < street.crossing[0] - 4.8) | (s > street.crossing[1] + 4.8)
    paint = np.zeros_like(road)
    dash = wrap(s + rng.uniform(0, 9), 9.0) < 4.0
    if street.rails is None or clear:
        solid = bool(rng.random() < 0.3)
        paint |= (np.abs(u) < 0.08) & outside & (dash | solid)
    for sign, side in ((-1, street.left), (1, street.right)):
        for i in range(1, int((side.kerb - side.parking) / lane)):
            paint |= (np.abs(u - sign * lane * i) < 0.07) & outside & dash
        if side.parking:
            paint |= (np.abs(u - sign * (side.kerb - side.parking)) < 0.06) & outside & (wrap(s, 6.0) < 5.2)
    if not clear:
        start, stop = street.crossing
        zebra = wrap(u, 1.0) < 0.5
        across = (u > -street.left.kerb + 0.3) & (u < street.right.kerb - 0.3)
        paint |= (s > start - 4) & (s < start - 1) & zebra & across
        paint |= (s > stop + 1) & (s < stop + 4) & zebra & across
        paint |= (s > start - 5.4) & (s < start - 4.9) & (u > 0) & (u < street.right.kerb - street.right.parking)
    if rng.random() < 0.35:
        paint |= _arrow(u - street.eye_u, s - rng.uniform(9, 13))
    worn = sample(tile(3, 32, 4), u * 22, s * 22) < rng.uniform(1.1, 2.2)
    zone[paint & worn & road] = MARKING
    if street.rails is not None:
        gauge = np.abs(np.abs(u - street.rails) - 0.72)
        zone[(gauge < 0.06) & (zone <= MARKING) & (np.abs(u) < 6)] = RAIL
        value *= np.where((gauge < 0.16) & (gauge >= 0.06) & (zone == ROAD), 0.8, 1)


def _arrow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A straight-on arrow painted on the lane."""
    shaft = (np.abs(a) < 0.08) & (b > 0) & (b < 2.6)
    head = (b >= 2.6) & (b < 4.0) & (np.abs(a) < 0.42 * (4.0 - b) / 1.4)
    return shaft | head


def _paving(
    zone: np.ndarray,
    value: np.ndarray,
    u: np.ndarray,
    s: np.ndarray,
    pixel: np.ndarray,
    street: Street,
    rng: np.random.Generator,
) -> None:
    """Slabs with joints on the pavement; joints fade where they are thinner than a pixel."""
    slab = rng.choice([0.5, 0.75, 1.0])
    paving = zone == PAVING
    row = np.floor(s / slab)
    across = wrap(u / slab + 0.5 * wrap(row, 2), 1.0)
    along = wrap(s / slab, 1.0)
    sharp_u = np.clip(0.05 / (pixel + 1e-6), 0, 1)
    sharp_s = np.clip(0.05 / (pixel * s / street.eye + 1e-6), 0, 1)
    joint = np.maximum((across < 0.04 / slab) * sharp_u, (along < 0.05 / slab) * sharp_s)
    tint = np.sin(12.9 * np.floor(u / slab + 0.5 * wrap(row, 2)) + 78.2 * row) * 0.05 * sharp_s
    value *= np.where(paving, (1 - 0.22 * joint) * (1 + tint), 1)
    face = (zone == KERB) & ((np.abs(u) - np.where(u < 0, street.left.kerb, street.right.kerb)) < 0.1)
    value *= np.where(face, 0.66, 1)
