"""Trees, bushes and hedges: crowns grown from leaf clusters, with light on the sun's side and gaps in between."""

from functools import lru_cache

import cv2
import numpy as np

from .brush import Brush
from .camera import Sun
from .canvas import TRAIN_ID, Canvas
from .noise import patch, sample, tile

_GREENS = ((74, 98, 44), (88, 112, 50), (62, 88, 46), (98, 116, 58), (82, 96, 40), (108, 104, 48))


@lru_cache(maxsize=128)
def crown(variant: int, sun: Sun, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crown as a sprite of the given width and height in pixels.

    Growing one takes longer than pasting it, so the far trees of a scene share a few variants.

    Returns:
        albedo (h, w, 3), light (h, w, 4) and mask (h, w), all uint8.
    """
    rng = np.random.default_rng([variant, int(1e6 * abs(sun.azimuth))])
    toward_sun = sun.direction
    width, height = size
    larger = max(size)
    base = np.array(_GREENS[rng.integers(len(_GREENS))], np.float32)
    cluster = np.zeros((height, width), np.uint8)  # which leaf cluster is seen, 0 for none
    lobes = rng.normal(0, 0.12, 4)
    count = int(np.clip(1.3 * larger, 40, 230))
    angle, reach, toward = (
        rng.uniform(0, 2 * np.pi, count),
        np.sqrt(rng.uniform(0, 1, count)),
        rng.uniform(-1, 1, count),
    )
    outline = 1 + sum(lobe * np.sin((k + 2) * angle + 7 * lobe) for k, lobe in enumerate(lobes))
    x, y = reach * np.cos(angle) * outline, reach * np.sin(angle) * outline
    z = toward * np.sqrt(np.maximum(0, 1 - reach**2))  # towards the viewer
    lit = 0.5 + 0.5 * (x * toward_sun[0] + y * toward_sun[1] - z * toward_sun[2])
    open_sky = np.clip(0.62 + 0.3 * y + 0.2 * z, 0.25, 1.0)
    tint = (0.72 + 0.4 * open_sky + rng.normal(0, 0.07, count))[:, None] * [1, 1, rng.uniform(0.85, 1.1)]
    sun = 215 * np.clip(lit * 1.25 - 0.1, 0.04, 1)
    middles = np.round((0.5 + 0.42 * np.stack((x, -y), 1)) * size).astype(int).tolist()
    radii = np.sqrt(width * height) * rng.uniform(0.045, 0.095, count)[:, None]
    radii = np.maximum(np.round(radii * rng.uniform((0.9, 0.6), (1.5, 1.0), (count, 2))), 1).astype(int).tolist()
    turn = rng.uniform(0, 180, count).tolist()
    for i in np.argsort(z + 0.35 * y):
        cv2.ellipse(cluster, middles[i], radii[i], turn[i], 0, 360, int(i) + 1, -1)
    colors = np.concatenate(([base * 0.75], base * tint))
    lights = np.stack((sun, 200 * open_sky, 30 + 200 * np.maximum(y, 0), 0 * y), 1)
    lights = np.concatenate(([(40, 100, 60, 0)], lights))
    leaves = 0.75 * patch(tile(9, 64, 2), height, width, 1.0, rng) + 0.5 * patch(
        tile(9, 64, 2), height, width, 0.3, rng
    )
    albedo = np.clip(colors.astype(np.float32)[cluster] * (1 + 0.17 * leaves[..., None]), 0, 255).astype(np.uint8)
    light = lights.astype(np.uint8)[cluster]
    light[..., 0] = np.clip(light[..., 0] * (1 + 0.4 * leaves), 0, 255)
    inside = cv2.GaussianBlur(np.where(cluster > 0, np.float32(255), np.float32(0)), (0, 0), larger / 60)
    return albedo, light, np.where((inside + 45 * leaves > 105) & (inside > 60), 255, 0).astype(np.uint8)


def _crown_at(brush: Brush, rng: np.random.Generator, height: float, width: float, tall: float, a: float = 0) -> None:
    canvas = brush.canvas
    centre = brush.world([(a, height, 0)])
    if centre[0, 2] < 2:
        return
    column, row = canvas.camera.project(centre)[0]
    half = brush.pixels_per_metre / 2 * np.array([width, tall])
    box = (column - half[0], row - half[1], column + half[0], row + half[1])
    if canvas.window(np.array([box[:2], box[2:]])) is None:
        return
    variant = int(rng.integers(1 << 20))
    size = np.clip(np.ceil(2 * half / 16) * 16, 16, 256).astype(int)
    if size.max() <= 112:
        variant %= 5
    albedo, light, mask = crown(variant, canvas.sun, tuple(size.tolist()))
    canvas.sprite(albedo, light, mask, box, brush.label, float(centre[0, 2]))


def draw_tree(brush: Brush, rng: np.random.Generator) -> None:
    """A tree of 5 to 10 m: trunk, boughs, crown of one or two parts."""
    height = rng.uniform(5.5, 9.5)
    slender = rng.random() < 0.2
    width = height * (0.3 if slender else rng.uniform(0.55, 0.8))
    stem = 1.2 if slender else rng.uniform(1.8, 2.7)
    bark = np.array([(92, 76, 60), (106, 96, 84), (78, 66, 56)][rng.integers(3)])
    lean = rng.normal(0, 0.12)
    radius = 0.022 * height
    brush.hull([((0, 0, 0), radius * 1.25), ((lean, stem + 0.8, 0), radius * 0.8)], bark)
    for sign in (-1, 1):
        tip = (lean + sign * width * 0.24, stem + (height - stem) * 0.45, 0)
        brush.hull([((lean, stem * 0.85, 0), radius * 0.6), (tip, radius * 0.25)], bark * 0.9)
    tall = height - stem + 0.5
    if not slender and rng.random() < 0.6:
        _crown_at(brush, rng, stem + tall * 0.4, width, tall * 0.75, rng.normal(0, 0.25) * width)
    _crown_at(brush, rng, stem + tall * 0.5, width * 0.9, tall, lean)


def draw_bush(brush: Brush, rng: np.random.Generator) -> None:
    """A shrub of about a metre."""
    for _ in range(2):
        height = rng.uniform(0.9, 1.8)
        _crown_at(brush, rng, height * 0.42, height * rng.uniform(1.1, 1.7), height, rng.normal(0, 0.5))


def hedge(rng: np.random.Generator, length: float, height: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Texture of a clipped hedge, (h, w, 3) uint8, and its mask (h, w) uint8 with a rough upper edge."""
    rows, columns = max(6, round(height * scale)), max(6, round(length * scale))
    leaves = patch(tile(9, 64, 2), rows, columns, 22 / scale, rng) + 0.7 * patch(
        tile(7, 8, 4), rows, columns, 9 / scale, rng
    )
    base = np.array(_GREENS[rng.integers(len(_GREENS))], np.float32)
    fade = np.linspace(1.12, 0.6, rows)[:, None]
    texture = np.clip(base * ((1 + 0.2 * leaves) * fade)[..., None], 0, 255).astype(np.uint8)
    top = np.linspace(1.0, 0.0, rows)[:, None]
    return texture, np.where(top + 0.05 * leaves < 0.93, 255, 0).astype(np.uint8)


def draw_backdrop(canvas: Canvas, rng: np.random.Generator) -> None:
    """Far trees and roofs along the horizon, where the street ends."""
    camera = canvas.camera
    columns = np.arange(camera.width, dtype=np.float32)[None]
    for depth, height, color, label in (
        (420.0, 34.0, (150, 156, 160), 'building'),
        (300.0, 13.0, (96, 112, 92), 'vegetation'),
        (210.0, 9.0, (84, 104, 64), 'vegetation'),
    ):
        scale = camera.focal / depth
        start = rng.uniform(0, 256, 2)
        metres = columns / scale
        if label == 'building':
            plot = np.floor(metres / 17)
            profile = height * (0.45 + 0.3 * np.sin(plot * 12.9 + start[0]) + 0.25 * np.sin(plot * 4.1 + start[1]))
        else:
            rough = sample(tile(10, 8, 6), start[0] + metres, start[1:])
            profile = height * (0.6 + 0.24 * rough)
        base = camera.base_row(depth)
        window = slice(max(0, int(base - 1.6 * height * scale)), int(base) + 2)
        rows = np.arange(window.start, window.stop, dtype=np.float32)[:, None]
        band = (rows >= base - np.maximum(profile, 1) * scale) & (rows < base + 1)
        value = 1 + 0.1 * patch(tile(9, 64, 2), len(rows), camera.width, 1.0, rng)
        shown = np.clip(np.array(color, np.float32) * value[..., None], 0, 255).astype(np.uint8)
        np.copyto(canvas.albedo[window], shown, where=band[..., None])
        np.copyto(canvas.label[window], np.uint8(TRAIN_ID[label]), where=band)
        np.copyto(canvas.depth[window], np.float32(depth), where=band)
        np.copyto(canvas.light[window], np.array([90, 190, 60, 0], np.uint8), where=band[..., None])
