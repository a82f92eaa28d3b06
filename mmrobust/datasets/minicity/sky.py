"""The sky: a gradient with a glow around the sun, and clouds on a plane that runs to the horizon."""

import numpy as np

from .canvas import FAR, Canvas
from .labels import TRAIN_ID
from .noise import sample, tile
from .street import Street


def draw_sky(canvas: Canvas, street: Street) -> None:
    """Fill the canvas from its top down to the horizon."""
    camera, sun = canvas.camera, canvas.sun
    rng = np.random.default_rng([street.seed, 1])
    bottom = int(np.floor(camera.horizon)) + 1
    up = ((camera.horizon - np.arange(bottom, dtype=np.float32)) / camera.focal)[:, None] + 0.004
    across = ((np.arange(camera.width, dtype=np.float32) - camera.centre) / camera.focal)[None]

    zenith = np.array([rng.uniform(70, 105), rng.uniform(125, 155), rng.uniform(190, 220)], np.float32)
    haze = np.array([rng.uniform(205, 228), rng.uniform(215, 230), rng.uniform(222, 238)], np.float32)
    height = np.clip(up / 0.5, 0, 1) ** 0.7
    color = haze + (zenith - haze) * height[..., None] * np.ones_like(across)[..., None]
    ray = np.stack(np.broadcast_arrays(across, up, np.float32(1)), -1)
    closeness = (ray @ sun.direction.astype(np.float32)) / np.linalg.norm(ray, axis=-1)
    glow = np.clip(closeness, 0, 1) ** 6
    color += glow[..., None] * np.array([70, 58, 34], np.float32)

    far = 26 / (up + 0.06)
    drift = rng.uniform(0, 256, 2)
    density = sample(tile(5, 4, 6), across * far * 1.1 + drift[0], far + drift[1])
    thick = np.clip((density - rng.uniform(-0.7, 1.1)) * 0.9, 0, 1)
    body = 247 - 52 * np.clip(density - 0.3, 0, 1.4) * thick
    cloud = np.stack((body, body * 0.995, body * 1.005), -1)
    color += (cloud - color) * (thick * np.clip(up / 0.04, 0.25, 1) * 0.9)[..., None]

    canvas.albedo[:bottom] = np.clip(color, 0, 255)
    canvas.label[:bottom] = TRAIN_ID['sky']
    canvas.depth[:bottom] = FAR
    canvas.light[:bottom] = (0, 255, 0, 0)
