"""Persons, riders, bicycles and motorcycles, built from rounded limbs on a skeleton."""

import numpy as np

from .brush import Brush
from .canvas import TRAIN_ID

LAMP_HEAD, LAMP_TAIL = 3, 4

_CLOTHES = ((32, 36, 46), (58, 62, 70), (140, 36, 40), (42, 66, 108), (196, 190, 178), (92, 82, 66), (60, 88, 66),
            (206, 150, 52), (150, 152, 156), (104, 54, 92), (36, 96, 112), (222, 220, 216))  # fmt: skip
_TROUSERS = ((34, 38, 50), (48, 60, 88), (70, 70, 72), (98, 88, 70), (26, 26, 28))
_SKIN = ((224, 178, 148), (196, 142, 108), (140, 96, 70), (98, 66, 50))
_HAIR = ((40, 28, 22), (82, 56, 34), (24, 22, 22), (150, 116, 70), (130, 128, 126))


def _pick(rng: np.random.Generator, colors: tuple) -> np.ndarray:
    return np.array(colors[rng.integers(len(colors))], float) * rng.uniform(0.85, 1.1)


def draw_person(brush: Brush, rng: np.random.Generator) -> None:
    """A pedestrian, walking or standing."""
    brush = Brush(brush.canvas, brush.label, brush.place, brush.heading, rng.uniform(0.92, 1.06))
    coat, trousers, skin, hair = (_pick(rng, c) for c in (_CLOTHES, _TROUSERS, _SKIN, _HAIR))
    stride = rng.uniform(0.12, 0.34) * rng.choice([-1, 1]) if rng.random() < 0.8 else 0.03
    long_coat = rng.random() < 0.3
    legs = []
    for sign in (-1, 1):
        step = sign * stride
        knee = (sign * 0.1, 0.5, step * 0.55 + 0.05)
        foot = (sign * 0.1, 0.08 + 0.1 * max(0, -step), step)
        legs.append((step, knee, foot, sign))
    back_first = sorted(legs, key=lambda leg: -brush.world([leg[2]])[0, 2])
    for shade, (_, knee, foot, sign) in zip((0.78, 1.0), back_first, strict=True):
        brush.hull([((sign * 0.09, 0.9, 0), 0.095), (knee, 0.075)], trousers * shade)
        brush.hull([(knee, 0.07), (foot, 0.05)], trousers * shade)
        brush.hull([(foot, 0.05), ((foot[0], foot[1] - 0.03, foot[2] + 0.14), 0.04)], (30, 28, 28))
    _arm(brush, coat * 0.8, skin, legs[1][3], -legs[1][0])
    hem = 0.68 if long_coat else 0.9
    brush.hull([((-0.15, 1.38, 0), 0.085), ((0.15, 1.38, 0), 0.085), ((-0.1, hem, 0), 0.1), ((0.1, hem, 0), 0.1)], coat)
    if rng.random() < 0.25:
        pack = _pick(rng, _CLOTHES)
        brush.hull([((-0.1, 1.32, -0.16), 0.08), ((0.1, 1.32, -0.16), 0.08), ((-0.1, 0.98, -0.17), 0.08),
                    ((0.1, 0.98, -0.17), 0.08)], pack)  # fmt: skip
    _arm(brush, coat * 0.9, skin, legs[0][3], -legs[0][0])
    if rng.random() < 0.2:
        brush.hull([((0.3, 0.68, 0), 0.07), ((0.3, 0.5, 0), 0.1)], _pick(rng, _CLOTHES))
    _head(brush, (0, 1.64, 0.02), skin, hair)


def _arm(brush: Brush, sleeve: np.ndarray, skin: np.ndarray, sign: int, swing: float) -> None:
    elbow = (sign * 0.26, 1.12, swing * 0.35)
    hand = (sign * 0.25, 0.88, swing * 0.8 + 0.06)
    brush.hull([((sign * 0.2, 1.38, 0), 0.06), (elbow, 0.05)], sleeve)
    brush.hull([(elbow, 0.05), (hand, 0.04)], sleeve)
    brush.hull([(hand, 0.045)], skin)


def _head(brush: Brush, at: tuple[float, float, float], skin: np.ndarray, hair: np.ndarray) -> None:
    a, h, b = at
    face_away = np.cos(brush.heading) > 0.3
    brush.hull([((a, h - 0.16, b - 0.02), 0.05), ((a, h - 0.1, b), 0.05)], skin)
    brush.hull([((a, h - 0.02, b), 0.095), ((a, h + 0.04, b), 0.1)], hair if face_away else skin)
    if not face_away:
        brush.hull([((a - 0.05, h + 0.08, b), 0.06), ((a + 0.05, h + 0.08, b), 0.06)], hair)


def _rider(brush: Brush, rng: np.random.Generator, seat: tuple[float, float], hands: tuple, feet: tuple) -> None:
    """Someone sitting: seat (h, b), hands (a, h, b) and feet ((h, b) left and right)."""
    brush = brush.relabelled(TRAIN_ID['rider'])
    coat, trousers, skin = (_pick(rng, c) for c in (_CLOTHES, _TROUSERS, _SKIN))
    helmet = _pick(rng, ((220, 220, 220), (30, 30, 34), (170, 40, 40), (50, 80, 150)))
    h, b = seat
    shoulder, ahead = h + 0.5, b + 0.22
    for sign, (foot_h, foot_b) in zip((-1, 1), feet, strict=True):
        knee = (sign * 0.15, (h + foot_h) / 2 + 0.12, max(b, foot_b) + 0.22)
        brush.hull([((sign * 0.1, h, b), 0.11), (knee, 0.085)], trousers * (0.85 if sign < 0 else 1))
        brush.hull([(knee, 0.075), ((sign * 0.12, foot_h, foot_b), 0.05)], trousers * (0.85 if sign < 0 else 1))
        brush.hull(
            [((sign * 0.12, foot_h, foot_b), 0.05), ((sign * 0.12, foot_h - 0.02, foot_b + 0.14), 0.04)], (30, 28, 28)
        )
    for sign in (-1, 1):
        elbow = (sign * 0.28, (shoulder + hands[1]) / 2 - 0.05, (ahead + hands[2]) / 2)
        brush.hull([((sign * 0.19, shoulder, ahead), 0.065), (elbow, 0.055)], coat * 0.88)
        brush.hull([(elbow, 0.055), ((sign * hands[0], hands[1], hands[2]), 0.045)], coat * 0.88)
    brush.hull([((-0.15, shoulder, ahead), 0.095), ((0.15, shoulder, ahead), 0.095), ((-0.1, h, b), 0.12),
                ((0.1, h, b), 0.12)], coat)  # fmt: skip
    _head(brush, (0, shoulder + 0.26, ahead + 0.08), skin, helmet)
    brush.hull([((0, shoulder + 0.33, ahead + 0.06), 0.12)], helmet)


def draw_bicycle(brush: Brush, rng: np.random.Generator) -> None:
    """A bicycle, upright."""
    frame = _pick(rng, ((30, 30, 32), (150, 30, 34), (40, 90, 140), (200, 200, 196), (60, 110, 70)))
    front, rear = (0, 0.34, 0.54), (0, 0.34, -0.52)
    for wheel in sorted((front, rear), key=lambda hub: -brush.world([hub])[0, 2]):
        brush.spoked_wheel(wheel, 0.34, 0.022, (34, 34, 36), (150, 150, 150))
    crank, saddle, head, bar = (0, 0.3, -0.06), (0, 0.92, -0.24), (0, 0.84, 0.36), (0, 1.02, 0.38)
    tube = 0.022
    for a, b in ((crank, saddle), (crank, head), (saddle, head), (rear, crank), (rear, saddle), (front, bar)):
        brush.hull([(a, tube), (b, tube)], frame)
    brush.hull([((0, 0.95, -0.34), 0.055), ((0, 0.95, -0.14), 0.035)], (28, 28, 28))
    brush.hull([((-0.27, 1.04, 0.3), 0.022), ((0.27, 1.04, 0.3), 0.022)], (28, 28, 30))
    brush.hull([((0, 0.7, -0.86), 0.03)], (190, 30, 26), LAMP_TAIL)


def draw_cyclist(brush: Brush, rng: np.random.Generator) -> None:
    """A bicycle and its rider."""
    draw_bicycle(brush, rng)
    _rider(brush, rng, (1.0, -0.22), (0.25, 1.05, 0.3), ((0.16, -0.1), (0.44, 0.02)))


def draw_motorcycle(brush: Brush, rng: np.random.Generator) -> None:
    """A motorcycle or scooter, upright."""
    paint = _pick(rng, ((150, 28, 30), (28, 28, 32), (44, 70, 130), (214, 214, 210), (186, 120, 30)))
    front, rear = (0, 0.31, 0.72), (0, 0.31, -0.66)
    facing = np.cos(brush.heading)
    for b in sorted((front[2], rear[2]), key=lambda b: -b * facing):
        for a in (-0.07, 0.07):
            brush.disc((a, 0.31, b), 0.31, (24, 24, 25))
            brush.disc((a * 1.05, 0.31, b), 0.18, (120, 120, 122))
        brush.hull([((0, 0.07, b), 0.075), ((0, 0.55, b), 0.075)], (24, 24, 25))
    brush.hull([((0, 0.42, -0.3), 0.17), ((0, 0.42, 0.25), 0.17), ((0, 0.6, 0), 0.16)], (62, 62, 64))
    brush.hull([((0, 0.75, -0.75), 0.1), ((0, 0.78, -0.1), 0.14), ((0, 0.6, -0.4), 0.12)], paint * 0.8)
    brush.hull([((0, 0.84, 0.0), 0.14), ((0, 0.86, 0.32), 0.16)], paint)
    brush.hull([((0, 0.84, -0.62), 0.09), ((0, 0.84, -0.12), 0.1)], (30, 28, 28))
    brush.hull([(front, 0.04), ((0, 0.95, 0.45), 0.05)], (90, 90, 92))
    brush.hull([((-0.36, 1.02, 0.36), 0.03), ((0.36, 1.02, 0.36), 0.03)], (34, 34, 36))
    brush.hull([((0.16, 0.34, -0.7), 0.055), ((0.16, 0.36, 0.0), 0.04)], (150, 150, 152))
    if facing > 0:
        brush.hull([((-0.06, 0.76, -0.85), 0.045), ((0.06, 0.76, -0.85), 0.045)], (190, 28, 26), LAMP_TAIL)
        brush.hull([((-0.07, 0.58, -0.87), 0.04), ((0.07, 0.58, -0.87), 0.04)], (228, 226, 212))
    else:
        brush.hull([((0, 0.9, 0.58), 0.1)], (238, 240, 236), LAMP_HEAD)


def draw_motorcyclist(brush: Brush, rng: np.random.Generator) -> None:
    """A motorcycle and its rider."""
    draw_motorcycle(brush, rng)
    _rider(brush, rng, (0.95, -0.3), (0.34, 1.02, 0.34), ((0.32, -0.05), (0.32, -0.05)))
