"""Cars, vans, buses, trucks and trams, built from flat faces in their own coordinates."""

import numpy as np

from .brush import Brush

LAMP_HEAD, LAMP_TAIL, LAMP_SIGN, LAMP_CABIN = 3, 4, 5, 1

_PAINTS = ((28, 30, 34), (62, 66, 70), (136, 140, 144), (186, 188, 190), (226, 226, 224), (30, 48, 96), (140, 24, 26),
           (24, 66, 58), (168, 146, 110), (52, 86, 138), (206, 204, 196), (90, 24, 32), (202, 142, 34))  # fmt: skip
_GLASS = (38, 46, 54)
_SKYLIT = (92, 108, 120)
_TYRE = (26, 26, 27)
_DARK = (34, 34, 36)
_LENS, _RED = (238, 240, 236), (182, 26, 24)  # of lamps


def _wheel(brush: Brush, a: float, b: float, radius: float) -> None:
    if brush.pixels_per_metre < 16:  # a far wheel is a dark spot
        brush.disc((a, radius, b), radius, _TYRE)
        return
    brush.disc((a, radius + 0.03, b), radius + 0.07, (18, 18, 18))
    brush.disc((a * 1.005, radius, b), radius, _TYRE)
    brush.disc((a * 1.01, radius, b), radius * 0.62, (142, 144, 148))
    brush.disc((a * 1.012, radius, b), radius * 0.24, (60, 60, 62))


def _tyres_below(brush: Brush, half: float, length: float, high: float, wheels: tuple[float, ...]) -> None:
    """The dark underside and the treads one sees under both bumpers."""
    ends = length / 2 - 0.12
    brush.panel('b', -ends, (-half + 0.05, half - 0.05, 0.16, high), (14, 14, 15))
    brush.panel('b', ends, (-half + 0.05, half - 0.05, 0.16, high), (14, 14, 15))
    for a in (-half + 0.03, half - 0.25):
        for b in wheels:
            brush.panel('b', b, (a, a + 0.22, 0.0, high), _TYRE)


def draw_car(brush: Brush, rng: np.random.Generator) -> None:
    """A saloon, hatchback, estate, off-roader or van."""
    kind = str(rng.choice(['saloon', 'hatchback', 'hatchback', 'estate', 'suv', 'van']))
    length, height, half = {
        'saloon': (4.6, 1.44, 0.89),
        'hatchback': (4.1, 1.48, 0.87),
        'estate': (4.7, 1.48, 0.9),
        'suv': (4.5, 1.68, 0.93),
        'van': (5.0, 1.96, 0.97),
    }[kind]
    color = np.array(_PAINTS[rng.integers(len(_PAINTS))], float) * rng.uniform(0.9, 1.08)
    rear, front = -length / 2, length / 2
    belt = {'van': 1.12, 'suv': 1.05}.get(kind, 0.93)
    sill = 0.34 if kind == 'suv' else 0.27
    boot = rear + (0.75 if kind == 'saloon' else 0.06)
    roof_rear = boot + (0.55 if kind != 'van' else 0.14)
    screen = front - (1.15 if kind != 'van' else 0.75)
    roof_front = screen - (0.85 if kind != 'van' else 0.6)
    bonnet = belt - 0.17
    inner = half * (0.76 if kind != 'van' else 0.86)
    wheels = (rear + 0.82, front - 0.85)

    _tyres_below(brush, half, length, sill + 0.12, wheels)
    lower = (0, (sill + belt) / 2, 0)
    for a in (-half, half):
        outline = [
            (a, sill, rear + 0.12), (a, belt - 0.22, rear), (a, belt, rear + 0.1), (a, belt, screen),
            (a, bonnet, front - 0.16), (a, bonnet - 0.22, front), (a, sill, front - 0.1),
        ]  # fmt: skip
        brush.face(outline, color, inside=lower)
        brush.panel('a', a, (rear + 0.2, front - 0.2, sill, sill + 0.1), _DARK)
        crease = [(a * 1.002, belt - 0.2, rear + 0.08), (a * 1.002, belt - 0.16, rear + 0.08),
                  (a * 1.002, belt - 0.2, front - 0.3), (a * 1.002, belt - 0.24, front - 0.3)]  # fmt: skip
        brush.face(crease, color * 0.72, inside=lower)
        for b in wheels:
            _wheel(brush, a, b, 0.35 if kind == 'suv' else 0.31)
    lid = [(-half, belt, screen), (half, belt, screen), (half, bonnet, front - 0.16), (-half, bonnet, front - 0.16)]
    brush.face(lid, color, inside=lower)
    brush.face([(-half, belt, rear), (half, belt, rear), (half, belt, boot), (-half, belt, boot)], color, inside=lower)
    _cabin(brush, color, half, inner, belt, height, (boot, roof_rear, roof_front, screen))
    brush.panel('b', rear, (-half, half, sill, belt), color)
    brush.panel('b', front, (-half, half, sill, bonnet - 0.02), color)
    _car_rear(brush, rng, half, rear, sill, belt, color)
    _car_front(brush, half, front, sill, bonnet)


def _cabin(
    brush: Brush, color: np.ndarray, half: float, inner: float, belt: float, height: float, along: tuple[float, ...]
) -> None:
    boot, roof_rear, roof_front, screen = along
    upper = (0, (belt + height) / 2, (roof_rear + roof_front) / 2)
    base = half * 0.985
    for sign in (-1, 1):
        side = [(sign * base, belt, boot), (sign * base, belt, screen), (sign * inner, height, roof_front),
                (sign * inner, height, roof_rear)]  # fmt: skip
        brush.face(side, color * 0.95, inside=upper)
        pillar = (roof_rear + roof_front) / 2 - 0.1

        def on_side(b: float, share: float, sign: int = sign) -> tuple[float, float, float]:
            return (sign * (base + (inner - base) * share), belt + (height - belt) * share, b)

        low, high = 0.08, 0.86
        brush.face([on_side(boot + 0.22, low), on_side(pillar - 0.05, low), on_side(pillar - 0.05, high),
                    on_side(roof_rear + 0.08, high)], _GLASS, inside=upper)  # fmt: skip
        brush.face([on_side(pillar + 0.05, low), on_side(screen - 0.2, low), on_side(roof_front - 0.04, high),
                    on_side(pillar + 0.05, high)], _GLASS, inside=upper)  # fmt: skip
    for bottom, top, foot, head in ((boot, roof_rear, 0.03, -0.04), (screen, roof_front, -0.05, 0.05)):
        outline = [(-base, belt, bottom), (base, belt, bottom), (inner, height, top), (-inner, height, top)]
        low, high = belt + 0.03, height - 0.07
        glass = [(-inner * 1.13, low, bottom + foot), (inner * 1.13, low, bottom + foot),
                 (inner * 0.94, high, top + head), (-inner * 0.94, high, top + head)]  # fmt: skip
        brush.face(outline, color * 0.95, inside=upper)
        brush.face(glass, _GLASS, inside=upper)
        if brush.pixels_per_metre < 16:
            continue
        middle = np.mean(glass, axis=0)
        brush.face(
            [glass[3], glass[2], middle + np.array((0.35, 0.05, 0)), middle - np.array((0.5, 0.05, 0))],
            _SKYLIT,
            inside=upper,
        )
    brush.face([(-inner, height, roof_rear), (inner, height, roof_rear), (inner, height, roof_front),
                (-inner, height, roof_front)], color, inside=upper)  # fmt: skip


def _car_rear(
    brush: Brush, rng: np.random.Generator, half: float, rear: float, sill: float, belt: float, color: np.ndarray
) -> None:
    brush.panel('b', rear, (-half, half, belt - 0.05, belt), np.minimum(color * 1.25 + 12, 255))
    brush.panel('b', rear, (-half, half, sill, belt - 0.42), color * 0.82)
    brush.panel('b', rear, (-half, half, sill, sill + 0.14), _DARK)
    brush.panel('b', rear, (-half, half, belt - 0.43, belt - 0.4), color * 0.5)
    brush.pair(rear, (half - 0.3, half - 0.02, belt - 0.3, belt - 0.06), (176, 26, 24), LAMP_TAIL)
    brush.panel('b', rear, (-0.26, 0.26, belt - 0.36, belt - 0.24), (232, 230, 214))
    if rng.random() < 0.2:
        brush.panel('b', rear, (-half + 0.3, half - 0.3, belt - 0.1, belt - 0.07), (200, 200, 200))


def _car_front(brush: Brush, half: float, front: float, sill: float, bonnet: float) -> None:
    brush.panel('b', front, (-half, half, sill, sill + 0.14), _DARK)
    brush.panel('b', front, (-half + 0.36, half - 0.36, bonnet - 0.26, bonnet - 0.06), (24, 25, 27))
    brush.panel('b', front, (-0.26, 0.26, sill + 0.08, sill + 0.2), (232, 230, 214))
    brush.pair(front, (half - 0.32, half - 0.03, bonnet - 0.24, bonnet - 0.07), _LENS, LAMP_HEAD)


def draw_bus(brush: Brush, rng: np.random.Generator) -> None:
    """A city bus of 12 m."""
    color = np.array(
        [(196, 40, 36), (228, 190, 60), (34, 82, 150), (226, 226, 222), (36, 120, 84)][rng.integers(5)], float
    )
    half, length, height, sill = 1.27, 12.0, 3.1, 0.3
    rear, front = -length / 2, length / 2
    _tyres_below(brush, half, length, 0.5, (rear + 2.9, front - 2.6))
    brush.box((-half, sill, rear), (half, height, front), color, (200, 200, 198))
    for a in (-half, half):
        brush.panel('a', a, (rear + 0.1, front - 0.1, sill, 0.55), color * 0.55)
        brush.panel('a', a, (rear + 0.3, front - 0.1, 1.3, 2.55), _GLASS, LAMP_CABIN)
        for b in np.arange(rear + 1.6, front - 0.5, 1.45):
            brush.panel('a', a, (b, b + 0.09, 1.25, 2.6), color * 0.5)
        brush.panel('a', a, (rear, front, 2.62, 2.76), (236, 236, 232))
        if a > 0:
            for b in (rear + 5.2, front - 1.6):
                brush.panel('a', a, (b, b + 1.2, 0.4, 2.5), (50, 58, 64), LAMP_CABIN)
                brush.panel('a', a, (b + 0.56, b + 0.64, 0.4, 2.5), color * 0.6)
        for b in (rear + 2.9, front - 2.6):
            _wheel(brush, a, b, 0.48)
    brush.panel('b', front, (-half, half, sill, 0.55), _DARK)
    brush.panel('b', front, (-0.7, 0.7, 0.66, 0.86), color * 0.55)
    brush.panel('b', front, (-half + 0.08, half - 0.08, 1.05, 2.5), _GLASS)
    brush.face([(-half + 0.1, 2.48, front), (0.3, 2.48, front), (-0.3, 1.5, front), (-half + 0.1, 1.5, front)], _SKYLIT)
    brush.panel('b', front, (-0.85, 0.85, 2.6, 2.95), (250, 176, 40), LAMP_SIGN)
    brush.panel('b', rear, (-half + 0.22, half - 0.22, 1.65, 2.6), _GLASS, LAMP_CABIN)
    brush.panel('b', rear, (-half + 0.3, half - 0.3, 0.62, 1.4), color * 0.62)
    brush.panel('b', rear, (-0.4, 0.4, 2.68, 2.95), (250, 176, 40), LAMP_SIGN)
    brush.panel('b', rear, (-0.26, 0.26, 0.42, 0.55), (230, 228, 214))
    brush.pair(rear, (half - 0.22, half - 0.03, 0.7, 1.35), _RED, LAMP_TAIL)
    brush.pair(front, (half - 0.4, half - 0.12, 0.66, 0.84), _LENS, LAMP_HEAD)
    for a in (-half - 0.16, half + 0.16):  # mirrors
        brush.hull([((a, 2.3, front + 0.1), 0.09), ((a, 1.95, front + 0.1), 0.09)], _DARK)


def draw_truck(brush: Brush, rng: np.random.Generator) -> None:
    """A lorry: cab in front, and a box, a canvas cover or a tipper behind."""
    half, length = 1.24, 8.5
    rear, front = -length / 2, length / 2
    cab = np.array(_PAINTS[rng.integers(4, len(_PAINTS))], float)
    kind = str(rng.choice(['box', 'canvas', 'tipper']))
    load = {'box': (222, 222, 218), 'canvas': (58, 84, 122), 'tipper': (196, 128, 44)}[kind]
    load = np.array(load, float) * rng.uniform(0.85, 1.05)
    top = 2.3 if kind == 'tipper' else rng.uniform(3.1, 3.6)
    wheels = (rear + 1.5, rear + 2.7, front - 1.3)
    _tyres_below(brush, half - 0.05, length, 0.95, wheels)
    brush.box((-half + 0.25, 0.6, rear + 0.1), (half - 0.25, 1.0, front - 0.3), (40, 40, 42))
    cab_first = np.cos(brush.heading) > 0  # seen from behind the cab is the farther part

    def draw_cab() -> None:
        brush.box((-half + 0.03, 0.5, front - 2.0), (half - 0.03, 2.75, front), cab)
        for a in (-half + 0.03, half - 0.03):
            brush.panel('a', a, (front - 1.3, front - 0.25, 1.7, 2.5), _GLASS)
        brush.panel('b', front, (-half + 0.15, half - 0.15, 1.65, 2.55), _GLASS)
        brush.face(
            [(-half + 0.2, 2.52, front), (0.2, 2.52, front), (-0.5, 1.8, front), (-half + 0.2, 1.8, front)], _SKYLIT
        )
        brush.panel('b', front, (-0.8, 0.8, 0.95, 1.45), (36, 36, 38))
        brush.panel('b', front, (-half + 0.1, half - 0.1, 0.5, 0.8), _DARK)
        brush.pair(front, (half - 0.42, half - 0.1, 0.82, 1.02), _LENS, LAMP_HEAD)

    def draw_load() -> None:
        stop = front - 2.2
        brush.box((-half, 1.0, rear), (half, top, stop), load)
        for a in (-half, half):
            brush.panel('a', a, (rear, stop, 1.0, 1.12), load * 0.5)
            if kind == 'box':
                brush.panel('a', a, (rear + 1, stop - 1, 1.7, 2.5), cab)
            for b in np.arange(rear + 0.7, stop, 0.9 if kind != 'box' else 9):
                brush.panel('a', a, (b, b + 0.06, 1.1, top), load * 0.7)
        brush.panel('b', rear, (-0.03, 0.03, 1.05, top - 0.05), load * 0.45)
        for a in (-half, half - 0.08):
            brush.panel('b', rear, (a, a + 0.08, 1.0, top), load * 0.6)
        for h in (1.35, (1.35 + top) / 2, top - 0.3):
            brush.panel('b', rear, (-half + 0.1, half - 0.1, h, h + 0.04), load * 0.7)
        brush.panel('b', rear, (-half + 0.1, half - 0.1, 0.62, 0.78), (190, 60, 40))
        brush.pair(rear, (half - 0.4, half - 0.06, 0.82, 0.98), _RED, LAMP_TAIL)

    for part in (draw_cab, draw_load) if cab_first else (draw_load, draw_cab):
        part()
    for a in (-half, half):
        for b in wheels:
            _wheel(brush, a, b, 0.47)


def draw_train(brush: Brush, rng: np.random.Generator) -> None:
    """A tram of three cars."""
    color = np.array([(206, 44, 40), (236, 200, 70), (40, 110, 90), (70, 120, 176)][rng.integers(4)], float)
    light = np.array((232, 230, 222), float)
    half, length, height = 1.2, 24.0, 3.35
    rear, front = -length / 2, length / 2
    _tyres_below(brush, half, length, 0.4, ())
    brush.box((-half, 0.22, rear), (half, 1.25, front), color)
    brush.box((-half, 1.25, rear + 0.15), (half, height, front - 0.15), light, (168, 168, 166))
    for a in (-half, half):
        brush.panel('a', a, (rear + 0.6, front - 0.6, 1.35, 2.6), _GLASS, LAMP_CABIN)
        brush.panel('a', a, (rear, front, 0.22, 0.42), _DARK)
        brush.panel('a', a, (rear, front, 2.85, 3.0), color)
        for b in np.arange(rear + 1.7, front - 1, 1.3):
            brush.panel('a', a, (b, b + 0.08, 1.3, 2.65), light * 0.75)
        for b in (rear + 3.5, -1.0, front - 5.0):
            brush.panel('a', a, (b, b + 1.5, 0.45, 2.6), (66, 74, 80), LAMP_CABIN)
            brush.panel('a', a, (b + 0.71, b + 0.79, 0.45, 2.6), color)
        for b in (-4.0, 4.0):
            brush.panel('a', a, (b - 0.35, b + 0.35, 0.25, height), (44, 44, 46))
    for end, lamp, lens in ((front, LAMP_HEAD, _LENS), (rear, LAMP_TAIL, _RED)):
        nose = end - np.sign(end) * 0.15
        brush.panel('b', nose, (-half + 0.12, half - 0.12, 1.4, 2.75), _GLASS)
        brush.face([(-half + 0.15, 2.7, nose), (0.2, 2.7, nose), (-0.5, 1.6, nose), (-half + 0.15, 1.6, nose)], _SKYLIT)
        brush.panel('b', nose, (-0.7, 0.7, 2.85, 3.15), (250, 176, 40), LAMP_SIGN)
        brush.panel('b', end, (-half, half, 0.22, 0.45), _DARK)
        brush.panel('b', end, (-half, half, 1.05, 1.12), light)
        brush.pair(end, (half - 0.42, half - 0.15, 0.68, 0.92), lens, lamp)
    brush.hull([((0, height, 0), 0.03), ((0, height + 0.7, -0.8), 0.03), ((0, height + 1.3, 0.1), 0.03)], (50, 50, 52))
