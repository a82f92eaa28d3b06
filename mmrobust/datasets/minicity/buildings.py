"""Houses: a facade texture with its windows, stretched over the street front, and the end wall one sees beside it."""

from dataclasses import dataclass

import cv2
import numpy as np

from .canvas import TRAIN_ID, Canvas
from .noise import patch, tile, wrap
from .street import Plot, Side, Street

LAMP_WARM, LAMP_COOL = 1, 2  # kinds of light behind windows, see `weather`

_PLASTER = ((222, 205, 170), (205, 186, 160), (196, 170, 138), (224, 216, 202), (190, 190, 186), (214, 178, 140),
            (176, 188, 190), (226, 196, 176), (202, 196, 164), (168, 156, 146))  # fmt: skip
_BRICK = ((152, 84, 64), (138, 96, 78), (168, 110, 82), (124, 78, 66), (172, 146, 120))
_GLASS = ((92, 108, 118), (110, 118, 122), (80, 92, 96), (140, 142, 140))
_AWNING = ((150, 38, 36), (34, 84, 58), (38, 58, 110), (196, 150, 60), (90, 88, 86))


@dataclass(frozen=True)
class House:
    """Style of one house; lengths in metres."""

    style: str
    wall: tuple[int, int, int]
    trim: float  # brightness of window surrounds
    bay: float
    window: tuple[float, float]  # share of the bay, share of the storey
    storey: float
    storeys: int
    shop: bool
    balconies: bool
    pitched: bool
    lit: float  # share of windows with a light on

    @property
    def height(self) -> float:
        """Height of the eaves."""
        return self.storey * self.storeys + 0.9

    @classmethod
    def pick(cls, rng: np.random.Generator, storeys: int, urban: bool) -> 'House':
        """A random house."""
        style = str(rng.choice(['plaster', 'plaster', 'brick', 'glass'] if urban else ['plaster', 'brick']))
        colors = {'plaster': _PLASTER, 'brick': _BRICK, 'glass': _GLASS}[style]
        office = style == 'glass'
        tint = rng.uniform(0.86, 1.08)
        return cls(
            style=style,
            wall=tuple(int(min(255, c * tint)) for c in colors[rng.integers(len(colors))]),
            trim=rng.uniform(0.7, 1.25),
            bay=rng.uniform(1.6, 2.2) if office else rng.uniform(2.2, 3.4),
            window=(0.86, 0.62) if office else (rng.uniform(0.36, 0.56), rng.uniform(0.48, 0.62)),
            storey=rng.uniform(3.0, 3.7),
            storeys=storeys,
            shop=bool(urban and rng.random() < 0.6),
            balconies=bool(style == 'plaster' and rng.random() < 0.3),
            pitched=bool(not office and rng.random() < (0.55 if urban else 0.9)),
            lit=rng.uniform(0.15, 0.5),
        )


def facade(
    rng: np.random.Generator, house: House, length: float, scale: float, blind: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Texture of one wall.

    Args:
        rng: randomness of details.
        house: the house.
        length: width of the wall in metres.
        scale: pixels per metre.
        blind: an end wall, with few windows and no shop.

    Returns:
        (h, w, 3) uint8 RGB and (h, w) uint8 lamp kinds.
    """
    width, height = max(8, round(length * scale)), max(8, round(house.height * scale))
    rows = np.arange(height, dtype=np.float32)[:, None]
    stain = patch(tile(7, 8, 4), height, width, 6 / scale, rng)
    grain = patch(tile(8, 128, 1), height, width, 1.0, rng)
    value = 1 + 0.045 * stain + 0.025 * grain
    value *= 1 - 0.22 * np.exp(-(height - rows) / (0.8 * scale))  # dirt near the ground
    if house.style == 'brick' and scale > 9:
        course = wrap(rows / scale, 0.16) < 0.035
        shift = 0.16 * wrap(np.floor(rows / scale / 0.16), 2)
        stretcher = wrap(np.arange(width)[None] / scale + shift, 0.32) < 0.035
        value = value * np.where(course | stretcher, 1.18, 1.0)
    texture = np.clip(np.array(house.wall, np.float32) * value[..., None], 0, 255).astype(np.uint8)
    lamps = np.zeros((height, width), np.uint8)
    wall = _Wall(texture, lamps, scale, rng, house)
    bays = max(1, int(length / house.bay))
    first = (length - bays * house.bay) / 2
    base = 1 if house.shop and not blind else 0
    for level in range(base, house.storeys):
        bottom = 0.4 + level * house.storey
        for bay in range(bays):
            if not blind or (bay % 3 == 1 and rng.random() < 0.5):
                wall.window(first + bay * house.bay, bottom)
        if level and not blind and house.style != 'brick':
            wall.strip(0, length, bottom - 0.12, bottom + 0.02, house.trim * 0.98)
            wall.strip(0, length, bottom - 0.2, bottom - 0.12, 0.78)
    if base:
        wall.shop(length)
    elif not blind:
        wall.door(first + int(rng.integers(bays)) * house.bay)
    wall.strip(0, length, house.height - 0.35, house.height, min(1.2, house.trim))
    wall.strip(0, length, house.height - 0.5, house.height - 0.35, 0.62)
    return texture, lamps


class _Wall:
    """Draws details into a wall texture; coordinates are metres from its lower left corner."""

    def __init__(
        self, texture: np.ndarray, lamps: np.ndarray, scale: float, rng: np.random.Generator, house: House
    ) -> None:
        self.texture, self.lamps, self.scale, self.rng, self.house = texture, lamps, scale, rng, house
        self.wall = np.array(house.wall, float)

    def area(self, left: float, right: float, bottom: float, top: float) -> tuple[slice, slice]:
        """Texture rows and columns of a rectangle."""
        height = self.texture.shape[0]
        return (
            slice(max(0, height - round(top * self.scale)), max(0, height - round(bottom * self.scale))),
            slice(max(0, round(left * self.scale)), max(0, round(right * self.scale))),
        )

    def strip(self, left: float, right: float, bottom: float, top: float, value: float) -> None:
        """A band in the wall's colour, lighter or darker."""
        self.texture[self.area(left, right, bottom, top)] = np.clip(self.wall * value, 0, 255)

    def window(self, left: float, bottom: float) -> None:
        """A window with frame, sill, reveal shadow, curtains or a reflection of the sky."""
        house, rng = self.house, self.rng
        width, height = house.window[0] * house.bay, house.window[1] * house.storey
        x0 = left + (house.bay - width) / 2
        y0 = bottom + (0.25 if house.balconies else 0.5) * (house.storey - height)
        if house.style != 'glass':
            self.strip(x0 - 0.14, x0 + width + 0.14, y0 - 0.1, y0 + height + 0.18, house.trim)
            self.strip(x0 - 0.2, x0 + width + 0.2, y0 - 0.26, y0 - 0.14, 0.68)
        self.glass(x0, x0 + width, y0, y0 + height)
        if house.balconies and bottom > 2:
            self.strip(x0 - 0.35, x0 + width + 0.35, bottom - 0.1, bottom + 0.1, 1.12)
            rail = self.area(x0 - 0.35, x0 + width + 0.35, bottom + 0.1, bottom + 1.0)
            self.texture[rail][:, :: max(2, round(0.13 * self.scale))] = (58, 58, 60)
            self.texture[rail][: max(1, round(0.06 * self.scale))] = (58, 58, 60)
        elif rng.random() < 0.06:
            self.strip(x0, x0 + width, y0 + height * 0.4, y0 + height, 0.9)  # a lowered blind

    def glass(self, left: float, right: float, bottom: float, top: float) -> None:
        """One pane area: dark inside, brighter where it mirrors the sky."""
        rng = self.rng
        rows, columns = self.area(left, right, bottom, top)
        count = rows.stop - rows.start
        if count < 1 or columns.stop <= columns.start:
            return
        mirror = np.linspace(rng.uniform(0.45, 1.0), 0.12, count)[:, None]
        self.texture[rows, columns] = (np.array((34, 40, 46)) + mirror * np.array((84, 100, 116)))[:, None].astype(
            np.uint8
        )
        if rng.random() < 0.45:
            drape = self.area(left, left + (right - left) * rng.uniform(0.2, 0.34), bottom, top)
            self.texture[drape] = (168, 162, 150)
        shade = self.area(left, right, top - 0.14, top)
        self.texture[shade] = self.texture[shade] // 2
        frame = self.area((left + right) / 2 - 0.04, (left + right) / 2 + 0.04, bottom, top)
        if frame[1].stop > frame[1].start:
            self.texture[frame] = 205 if self.house.style != 'glass' else 70
        if rng.random() < self.house.lit:
            self.lamps[rows, columns] = LAMP_COOL if rng.random() < 0.25 else LAMP_WARM
            self.lamps[frame] = 0

    def shop(self, length: float) -> None:
        """A ground floor of shop windows under a sign and an awning."""
        house, rng = self.house, self.rng
        color = np.array(_AWNING[rng.integers(len(_AWNING))])
        self.strip(0, length, 0, house.storey + 0.1, 0.55)
        step = length / max(1, round(length / 3.6))
        left = 0.25
        while left + step - 0.5 < length + 0.1:
            right = left + step - 0.5
            if rng.random() < 0.25:
                right -= 1.2
                self.door(right - 0.4)
            self.glass(left, right, 0.45, house.storey - 0.55)
            self.lamps[self.area(left, right, 0.45, house.storey - 0.55)] = LAMP_WARM if rng.random() < 0.8 else 0
            left += step
        self.texture[self.area(0, length, house.storey - 0.5, house.storey + 0.1)] = color * 0.8
        for letter in np.arange(0.8, min(length - 1, rng.uniform(3, 8)), 0.45):
            self.texture[self.area(letter, letter + 0.28, house.storey - 0.35, house.storey - 0.05)] = 225
        if rng.random() < 0.5:
            awning = self.area(0.2, length - 0.2, house.storey - 1.15, house.storey - 0.5)
            columns = np.arange(awning[1].start, min(awning[1].stop, self.texture.shape[1]))
            stripes = np.where((wrap(columns / self.scale, 0.7) < 0.35)[:, None], color, 226)
            self.texture[awning] = stripes[None].astype(np.uint8)
            self.lamps[awning] = 0

    def door(self, left: float) -> None:
        """A door with a step and a light above."""
        color = self.rng.choice([(92, 58, 38), (52, 66, 58), (60, 60, 72), (120, 40, 36)])
        self.strip(left + 0.25, left + 1.65, 0, 2.55, self.house.trim)
        self.texture[self.area(left + 0.4, left + 1.5, 0.12, 2.35)] = color
        self.texture[self.area(left + 0.55, left + 1.35, 1.5, 2.15)] = (74, 84, 92)


def draw_house(canvas: Canvas, street: Street, side: Side, sign: int, plot: Plot) -> None:
    """Draw the house of a plot: end wall, street front, roof."""
    rng = np.random.default_rng(plot.seed)
    house = House.pick(rng, plot.storeys, plot.setback == 0)
    gap = 0.0 if plot.setback == 0 else 1.6
    start, stop = plot.start + gap, plot.stop - gap
    line = sign * (side.front + plot.setback)
    back = line + sign * 9.0
    near, far, behind = (np.array([*street.place(u, s)]) for u, s in ((line, start), (line, stop), (back, start)))
    behind_far = np.array(street.place(back, stop))
    middle = np.array([(near[0] + behind[0]) / 2, house.height / 2, (near[1] + far[1]) / 2])
    scale = float(np.clip(0.85 * canvas.camera.focal / max(start, 8.0), 3, 28))
    label = TRAIN_ID['building']

    def wall(a: np.ndarray, b: np.ndarray, blind: bool) -> None:
        ends = canvas.camera.project(np.array([(a[0], 0, a[1]), (b[0], 0, b[1])]))[:, 0]
        if ends.max() < 0 or ends.min() > canvas.camera.width:
            return
        texture, lamps = facade(rng, house, float(np.linalg.norm(b - a)), scale * (0.7 if blind else 1.0), blind)
        corners = [(a[0], house.height, a[1]), (b[0], house.height, b[1]), (b[0], 0, b[1]), (a[0], 0, a[1])]
        canvas.textured(np.array(corners), label, texture, middle, lamps)

    if house.pitched:
        _roof(canvas, rng, house, (near, far, behind, behind_far), middle, scale)
    wall(near, behind, True)
    wall(near, far, False)


def _roof(
    canvas: Canvas, rng: np.random.Generator, house: House, ends: tuple, middle: np.ndarray, scale: float
) -> None:
    near, far, behind, behind_far = ends
    label = TRAIN_ID['building']
    rise = rng.uniform(2.2, 3.8)
    color = np.array([(146, 74, 54), (120, 70, 58), (84, 82, 86), (104, 92, 84)][rng.integers(4)], float)
    ridge_near, ridge_far = (near + behind) / 2, (far + behind_far) / 2
    top = house.height + rise
    for at in (0.3, 0.75):
        if rng.random() < 0.7:
            x, z = ridge_near + (ridge_far - ridge_near) * at
            stack = [(x - 0.4, top - 1, z), (x + 0.4, top - 1, z), (x + 0.4, top + 1, z), (x - 0.4, top + 1, z)]
            canvas.face(np.array(stack), label, (112, 84, 74), np.array([x, top, z + 1]))
    gable = [(near[0], house.height, near[1]), (behind[0], house.height, behind[1]), (ridge_near[0], top, near[1])]
    canvas.face(np.array(gable), label, np.array(house.wall) * 0.94, middle)
    height, width = max(6, round(rise * scale)), max(8, round(float(np.linalg.norm(far - near)) * scale))
    value = 1 + 0.06 * patch(tile(7, 8, 4), height, width, 5 / scale, rng)
    value *= np.where(wrap(np.arange(height)[:, None] / scale, 0.3) < 0.1, 0.8, 1.0)
    texture = np.clip(color * value[..., None], 0, 255).astype(np.uint8)
    corners = [
        (ridge_near[0], top, ridge_near[1]), (ridge_far[0], top, ridge_far[1]),
        (far[0], house.height, far[1]), (near[0], house.height, near[1]),
    ]  # fmt: skip
    for at in np.arange(1.5, width / scale - 2, rng.uniform(3, 6)):
        window = (
            slice(round(height * 0.35), round(height * 0.75)),
            slice(round(at * scale), round((at + 0.9) * scale)),
        )
        texture[window] = (70, 84, 98)
    canvas.textured(np.array(corners), label, cv2.GaussianBlur(texture, (0, 0), 0.6), middle)
