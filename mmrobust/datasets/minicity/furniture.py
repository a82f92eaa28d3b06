"""Street furniture: lamps, signals, signs, bins, and the walls, fences and hedges along gardens."""

import numpy as np

from .brush import Brush
from .canvas import IGNORE, TRAIN_ID, Canvas
from .foliage import hedge
from .noise import patch, tile, wrap
from .street import Plot, Side, Street

LAMP_STREET, LAMP_RED, LAMP_AMBER, LAMP_GREEN = 6, 7, 8, 9
LAMP_HEIGHT, LAMP_REACH = 6.6, 1.5  # where a street lamp's light sits, above and beside its foot

_STEEL = (112, 116, 116)


def draw_lamp(brush: Brush, rng: np.random.Generator) -> None:
    """A street lamp whose arm reaches over the road (to its left)."""
    color = np.array([(88, 92, 92), (120, 124, 122), (56, 70, 62)][rng.integers(3)])
    brush.hull([((0, 0, 0), 0.11), ((0, 0.9, 0), 0.1)], color)
    brush.hull([((0, 0.9, 0), 0.075), ((0, LAMP_HEIGHT, 0), 0.055)], color)
    brush.hull([((0, LAMP_HEIGHT, 0), 0.05), ((-LAMP_REACH, LAMP_HEIGHT + 0.25, 0), 0.04)], color)
    head = [((-LAMP_REACH + 0.25, LAMP_HEIGHT + 0.22, 0), 0.07), ((-LAMP_REACH - 0.3, LAMP_HEIGHT + 0.28, 0), 0.07)]
    brush.hull(head, color * 1.1)
    glass = [((-LAMP_REACH - 0.2, LAMP_HEIGHT + 0.18, 0), 0.05), ((-LAMP_REACH + 0.15, LAMP_HEIGHT + 0.14, 0), 0.05)]
    brush.hull(glass, (226, 220, 200), LAMP_STREET)


def draw_signal(brush: Brush, rng: np.random.Generator) -> None:
    """A traffic light on its pole, sometimes with a second one on an arm over the road."""
    brush.hull([((0, 0, 0), 0.08), ((0, 3.3, 0), 0.07)], _STEEL)
    lit = int(rng.integers(3))
    away = abs(brush.heading) > np.pi / 2
    heads = [(0.0, 2.75)]
    if rng.random() < 0.45:
        reach = rng.uniform(2.2, 3.4)
        brush.hull([((0, 3.3, 0), 0.08), ((0, 5.6, 0), 0.07)], _STEEL)
        brush.hull([((0, 5.5, 0), 0.06), ((-reach, 5.6, 0), 0.05)], _STEEL)
        heads.append((-reach, 5.45))
    brush = brush.relabelled(TRAIN_ID['traffic light'])
    for a, h in heads:
        brush.box((a - 0.2, h - 0.55, -0.14), (a + 0.2, h + 0.55, 0.14), (30, 32, 32))
        if away:
            continue
        for lamp, (color, kind) in enumerate(
            zip(((226, 44, 34), (246, 178, 36), (60, 208, 110)), (LAMP_RED, LAMP_AMBER, LAMP_GREEN), strict=True)
        ):
            on = lamp == lit
            shade = np.array(color) * (1.0 if on else 0.28)
            brush.hull([((a, h + 0.35 - 0.35 * lamp, -0.18), 0.125)], shade, kind if on else 0)
            visor = h + 0.47 - 0.35 * lamp
            brush.hull([((a - 0.11, visor, -0.2), 0.02), ((a + 0.11, visor, -0.2), 0.02)], (20, 20, 20))


def _plate(brush: Brush, height: float, radius: float, corners: int, turn: float, color: tuple[int, int, int]) -> None:
    angle = turn + np.arange(corners) * 2 * np.pi / corners
    points = [(radius * np.sin(t), height + radius * np.cos(t), -0.06) for t in angle]
    brush.face(points, color, inside=(0, height, 0.5))


def draw_sign(brush: Brush, rng: np.random.Generator) -> None:
    """A sign on a pole: speed limit, give way, stop, mandatory, warning, priority, parking or directions."""
    height = rng.uniform(2.3, 2.8)
    kind = str(rng.choice(['limit', 'yield', 'stop', 'arrow', 'warning', 'priority', 'parking', 'directions']))
    brush.hull([((0, 0, 0), 0.045), ((0, height + 0.3, 0), 0.045)], (128, 132, 134))
    behind = abs(brush.heading) > np.pi / 2
    brush = brush.relabelled(TRAIN_ID['traffic sign'])
    if behind:  # its back is turned to us
        brush = Brush(brush.canvas, brush.label, brush.place, brush.heading - np.pi, brush.size)
        _plate(brush, height, 0.4, 16 if kind in ('limit', 'arrow') else 4, np.pi / 4, (134, 136, 138))
        return
    red, white, blue, dark, yellow = (196, 30, 34), (240, 240, 236), (30, 78, 160), (30, 30, 32), (244, 196, 40)
    parts = {
        'limit': [(0.42, 18, 0.0, red), (0.32, 18, 0.0, white), (0.14, 4, np.pi / 4, dark)],
        'yield': [(0.54, 3, np.pi, red), (0.33, 3, np.pi, white)],
        'stop': [(0.46, 8, np.pi / 8, red), (0.16, 4, np.pi / 4, white)],
        'arrow': [(0.42, 18, 0.0, blue), (0.24, 3, 0.6, white)],
        'warning': [(0.54, 3, 0.0, red), (0.34, 3, 0.0, white), (0.1, 4, 0.0, dark)],
        'priority': [(0.46, 4, 0.0, white), (0.34, 4, 0.0, yellow)],
        'parking': [(0.5, 4, np.pi / 4, blue), (0.2, 18, 0.0, white), (0.1, 18, 0.0, blue)],
    }
    if kind == 'directions':
        brush.panel('b', -0.06, (-0.75, 0.75, height - 0.4, height + 0.45), yellow if rng.random() < 0.5 else blue)
        for row in (-0.2, 0.08):
            brush.panel(
                'b', -0.07, (-0.6, 0.45, height + row, height + row + 0.12), dark if rng.random() < 0.5 else white
            )
        return
    for radius, corners, turn, color in parts[kind]:
        _plate(brush, height, radius, corners, turn, color)
    if rng.random() < 0.3:
        brush.panel('b', -0.06, (-0.3, 0.3, height - 0.85, height - 0.52), white)


def draw_bin(brush: Brush, rng: np.random.Generator) -> None:
    """A litter bin: Cityscapes evaluates no such class, so its label is ignored."""
    brush = brush.relabelled(IGNORE)
    color = np.array([(60, 74, 60), (70, 72, 76), (150, 90, 30)][rng.integers(3)])
    brush.box((-0.28, 0.05, -0.25), (0.28, 1.0, 0.25), color, color * 0.7)


def draw_border(canvas: Canvas, street: Street, side: Side, sign: int, plot: Plot, start: float, stop: float) -> None:
    """A piece of the wall, fence or hedge between a garden and the pavement."""
    rng = np.random.default_rng([plot.seed, 5])
    height = {'wall': rng.uniform(1.3, 2.4), 'fence': rng.uniform(1.1, 1.7), 'hedge': rng.uniform(1.0, 1.7)}[
        plot.border
    ]
    line = sign * (side.front + 0.15)
    (x0, z0), (x1, z1) = street.place(line, start), street.place(line, stop)
    corners = np.array([(x0, height, z0), (x1, height, z1), (x1, 0, z1), (x0, 0, z0)])
    inside = np.array([x0 + sign * 5, 0.5, z0])
    scale = float(np.clip(1.1 * canvas.camera.focal / max(start, 6.0), 4, 42))
    length = float(np.hypot(x1 - x0, z1 - z0))
    label = TRAIN_ID['vegetation' if plot.border == 'hedge' else plot.border]
    texture, opaque = {'wall': _wall, 'fence': _fence, 'hedge': hedge}[plot.border](rng, length, height, scale)
    if plot.border != 'fence':
        end = np.array([(x0, height, z0), (x0 + sign * 0.35, height, z0), (x0 + sign * 0.35, 0, z0), (x0, 0, z0)])
        canvas.face(end, label, texture.mean((0, 1)) * 0.9, np.array([x0, 0.5, z0 + 3]))
        top = np.array([corners[0], corners[1], corners[1] + (sign * 0.35, 0, 0), corners[0] + (sign * 0.35, 0, 0)])
        canvas.face(top, label, texture.mean((0, 1)) * 1.08, np.array([x0, 0, z0]))
    canvas.textured(corners, label, texture, inside, opaque=opaque)


def _wall(rng: np.random.Generator, length: float, height: float, scale: float) -> tuple[np.ndarray, None]:
    rows, columns = max(6, round(height * scale)), max(6, round(length * scale))
    color = np.array([(150, 92, 70), (172, 164, 148), (160, 150, 136), (186, 180, 168)][rng.integers(4)], np.float32)
    value = (
        1
        + 0.08 * patch(tile(7, 8, 4), rows, columns, 6 / scale, rng)
        + 0.05 * patch(tile(8, 128, 1), rows, columns, 1, rng)
    )
    y, x = np.arange(rows)[:, None] / scale, np.arange(columns)[None] / scale
    course = 0.3
    joint = wrap(x + 0.3 * wrap(np.floor(y / course), 2), 0.6) < 0.05
    value *= np.where((wrap(y, course) < 0.045) | joint, 0.78, 1)
    value *= np.where(y < 0.14, 1.15, 1) * np.where((y >= 0.14) & (y < 0.22), 0.7, 1)
    return np.clip(color * value[..., None], 0, 255).astype(np.uint8), None


def _fence(rng: np.random.Generator, length: float, height: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = max(8, round(height * scale)), max(8, round(length * scale))
    y, x = np.arange(rows)[:, None] / scale, np.arange(columns)[None] / scale
    kind = int(rng.integers(3))
    if kind == 0:  # wooden pickets
        color, bars = (206, 200, 188) if rng.random() < 0.5 else (128, 94, 64), wrap(x, 0.2) < 0.12
    elif kind == 1:  # iron railings
        color, bars = (44, 48, 46), wrap(x, 0.22) < 0.07
    else:  # wire mesh
        color, bars = (118, 124, 120), (wrap(x + y, 0.24) < 0.05) | (wrap(x - y, 0.24) < 0.05)
    solid = bars | (wrap(x, 2.4) < 0.12) | ((y > 0.12) & (y < 0.22)) | ((y > height - 0.3) & (y < height - 0.2))
    value = 1 + 0.08 * patch(tile(7, 8, 4), rows, columns, 9 / scale, rng)
    texture = np.clip(np.array(color, np.float32) * value[..., None], 0, 255).astype(np.uint8)
    return texture, np.where(solid, 255, 0).astype(np.uint8)
