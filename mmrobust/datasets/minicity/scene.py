"""Draw a planned street: sky, ground with shadows, then everything upright from far to near."""

from itertools import pairwise

import numpy as np

from .brush import Brush
from .buildings import draw_house
from .camera import Camera
from .canvas import FAR, IGNORE, SUPERSAMPLING, TRAIN_ID, Canvas
from .foliage import draw_backdrop, draw_bush, draw_tree
from .furniture import draw_bin, draw_border, draw_lamp, draw_sign, draw_signal
from .ground import draw_ground
from .noise import sample, tile
from .people import draw_bicycle, draw_cyclist, draw_motorcycle, draw_motorcyclist, draw_person
from .street import Street, Thing
from .vehicles import draw_bus, draw_car, draw_train, draw_truck

# kind: how it is drawn, its class, and its body for shadows: width, length, lowest and highest point
_KINDS = {
    'car': (draw_car, 'car', 1.75, 4.3, 0.0, 1.4),
    'bus': (draw_bus, 'bus', 2.5, 12.0, 0.0, 3.1),
    'truck': (draw_truck, 'truck', 2.5, 8.5, 0.0, 3.2),
    'train': (draw_train, 'train', 2.4, 24.0, 0.0, 3.3),
    'person': (draw_person, 'person', 0.4, 0.35, 0.0, 1.7),
    'bicycle': (draw_bicycle, 'bicycle', 0.1, 1.6, 0.0, 0.9),
    'cyclist': (draw_cyclist, 'bicycle', 0.3, 1.4, 0.0, 1.6),
    'motorcycle': (draw_motorcycle, 'motorcycle', 0.3, 1.8, 0.0, 1.0),
    'motorcyclist': (draw_motorcyclist, 'motorcycle', 0.4, 1.8, 0.0, 1.6),
    'lamp': (draw_lamp, 'pole', 0.16, 0.16, 0.0, 6.6),
    'signal': (draw_signal, 'pole', 0.25, 0.25, 0.0, 3.3),
    'sign': (draw_sign, 'pole', 0.1, 0.1, 0.0, 3.0),
    'bin': (draw_bin, 'pole', 0.55, 0.5, 0.0, 1.0),
    'tree': (draw_tree, 'vegetation', 3.6, 3.6, 2.6, 6.5),
    'bush': (draw_bush, 'vegetation', 1.6, 1.4, 0.0, 1.0),
}
BORDER_STEP = 6.0  # long borders are drawn in pieces, so that things between them sort rightly


def draw_scene(street: Street, width: int, height: int) -> Canvas:
    """Draw a street for an image of ``width`` x ``height`` pixels; the canvas is ``SUPERSAMPLING`` times larger."""
    width, height = width * SUPERSAMPLING, height * SUPERSAMPLING
    camera = Camera(width, height, street.focal * width, street.pitch * height, width / 2, street.eye)
    canvas = Canvas(camera, street.sun)
    _draw_sky(canvas, street)
    draw_ground(canvas, street, _bodies(street))
    draw_backdrop(canvas, np.random.default_rng([street.seed, 3]))

    jobs = []
    for sign, side in ((-1, street.left), (1, street.right)):
        for plot in side.plots:
            if plot.kind in ('house', 'garden'):
                jobs.append((plot.stop, draw_house, (canvas, street, side, sign, plot)))
            if plot.border:
                pieces = max(1, round((plot.stop - plot.start) / BORDER_STEP))
                edges = np.linspace(plot.start, plot.stop, pieces + 1)
                for start, stop in pairwise(edges):
                    jobs.append((start - 0.5, draw_border, (canvas, street, side, sign, plot, start, stop)))
    for thing in street.things:
        jobs.append((thing.s + thing.order, _draw_thing, (canvas, street, thing)))
    for _, draw, arguments in sorted(jobs, key=lambda job: -job[0]):
        draw(*arguments)
    if street.bonnet:
        _draw_bonnet(canvas, street)
    return canvas


def _draw_sky(canvas: Canvas, street: Street) -> None:
    """A gradient with a glow around the sun, and clouds on a plane that runs to the horizon."""
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


def _draw_thing(canvas: Canvas, street: Street, thing: Thing) -> None:
    draw, name, width, length, *_ = _KINDS[thing.kind]
    x, z = street.place(thing.u, thing.s)
    reach = max(width, length) / 2 + 3.5  # crowns and arms reach beyond the body on the ground
    edge = canvas.camera.centre / canvas.camera.focal
    if z > 1.0 and abs(x) - reach < edge * (z + reach):
        draw(Brush(canvas, TRAIN_ID[name], (x, z), thing.heading), np.random.default_rng(thing.seed))


def _bodies(street: Street) -> list[tuple[np.ndarray, float, float]]:
    """Shadow caster: footprint (N, 2) in world (x, z), lowest and highest point."""
    bodies = []
    for thing in street.things:
        _, _, width, length, low, high = _KINDS[thing.kind]
        x, z = street.place(thing.u, thing.s)
        if z > 90:
            continue
        if thing.kind == 'tree':
            turn = np.linspace(0, 2 * np.pi, 9)[:-1]
            corners = np.stack((np.cos(turn), np.sin(turn)), 1) * width / 2
            bodies.append((np.array([x, z]) + corners * 0.08, 0.0, low))
        else:
            corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, length / 2)
            cos, sin = np.cos(thing.heading), np.sin(thing.heading)
            corners = corners @ np.array([[cos, -sin], [sin, cos]])
        bodies.append((np.array([x, z]) + corners, low, high))
    for sign, side in ((-1, street.left), (1, street.right)):
        for plot in side.plots:
            if plot.kind != 'park':
                line = sign * (side.front + plot.setback)
                outline = [
                    (line, plot.start),
                    (line, plot.stop),
                    (line + sign * 9, plot.stop),
                    (line + sign * 9, plot.start),
                ]
                bodies.append((np.array([street.place(u, s) for u, s in outline]), 0.0, 3.3 * plot.storeys))
            if plot.border:
                line = sign * (side.front + 0.15)
                ends = [(line, plot.start), (line, plot.stop), (line + sign * 0.3, plot.stop)]
                bodies.append((np.array([street.place(u, s) for u, s in ends]), 0.0, 1.4))
    return bodies


def _draw_bonnet(canvas: Canvas, street: Street) -> None:
    """The camera car's own bonnet along the lower edge; ignored, as in Cityscapes."""
    camera = canvas.camera
    rng = np.random.default_rng([street.seed, 4])
    across = np.linspace(-0.12, 1.12, 40)
    rise = camera.height * rng.uniform(0.045, 0.085)
    arch = camera.height - rise * (1 - (2 * across - 1) ** 4 * 0.75)
    color = np.array([(40, 42, 46), (96, 100, 106), (60, 20, 22)][rng.integers(3)])
    for drop, shade in ((0.0, 1.5), (0.12, 1.0), (0.5, 0.8)):
        outline = np.stack((across * camera.width, arch + drop * rise), 1)
        outline = np.concatenate((outline, [(camera.width * 1.2, camera.height + 9), (-9, camera.height + 9)]))
        canvas.polygon(outline, IGNORE, color * shade, (150, 210, 200, 0), 1.5)
