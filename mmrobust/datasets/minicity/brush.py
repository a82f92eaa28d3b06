"""A brush draws one thing in its own coordinates: a to its right, h up, b to its front (metres)."""

from collections.abc import Sequence

import cv2
import numpy as np

from .camera import NEAR
from .canvas import Canvas, Color

_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 14, False)), np.sin(np.linspace(0, 2 * np.pi, 14, False))], 1)
_WHEEL = np.stack([np.cos(np.linspace(0, 2 * np.pi, 20, False)), np.sin(np.linspace(0, 2 * np.pi, 20, False))], 1)

Point = Sequence[float]


class Brush:
    """Draws with one label at one place.

    Args:
        canvas: where to draw.
        label: train id.
        place: world x and z of the thing's origin on the ground.
        heading: radians the thing's front is turned away from the camera's viewing direction, to the right.
        size: factor on every length.
    """

    def __init__(
        self, canvas: Canvas, label: int, place: tuple[float, float], heading: float = 0.0, size: float = 1.0
    ) -> None:
        self.canvas = canvas
        self.label = label
        self.place = place
        self.heading = heading
        self.size = size
        cos, sin = np.cos(heading), np.sin(heading)
        self._turn = size * np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
        self._origin = np.array([place[0], 0.0, place[1]])
        self._middle = self._origin + np.array([0.0, 0.7 * size, 0.0])

    def relabelled(self, label: int) -> 'Brush':
        """The same brush for another class."""
        return Brush(self.canvas, label, self.place, self.heading, self.size)

    def world(self, points: Sequence[Point]) -> np.ndarray:
        """World points (N, 3) of local points (N, 3)."""
        return np.asarray(points, float) @ self._turn + self._origin

    @property
    def pixels_per_metre(self) -> float:
        """Scale at the thing's origin."""
        return self.canvas.camera.focal / max(self.place[1], NEAR)

    def face(self, points: Sequence[Point], color: Color, lamp: int = 0, inside: Point | None = None) -> None:
        """A flat polygon; hidden when it faces away from the camera."""
        middle = self._middle if inside is None else self.world([inside])[0]
        self.canvas.face(self.world(points), self.label, color, middle, lamp)

    def panel(self, axis: str, at: float, span: Sequence[float], color: Color, lamp: int = 0) -> None:
        """An upright rectangle: ``axis='b'`` on the front or rear plane b = at, ``'a'`` on the side a = at.

        ``span`` is low, high (of the other horizontal axis), bottom, top.
        """
        low, high, bottom, top = span
        ring = ((low, bottom), (high, bottom), (high, top), (low, top))
        points = [(at, h, v) if axis == 'a' else (v, h, at) for v, h in ring]
        inside = (0, (bottom + top) / 2, (low + high) / 2) if axis == 'a' else ((low + high) / 2, (bottom + top) / 2, 0)
        self.face(points, color, lamp, inside)

    def pair(self, at: float, span: Sequence[float], color: Color, lamp: int = 0) -> None:
        """Two such rectangles on the plane b = at, one on the left and its mirror image on the right."""
        low, high, bottom, top = span
        self.panel('b', at, (-high, -low, bottom, top), color, lamp)
        self.panel('b', at, (low, high, bottom, top), color, lamp)

    def box(self, low: Point, high: Point, color: Color, top_color: Color | None = None) -> None:
        """An axis-aligned box: the faces one can see."""
        (a0, h0, b0), (a1, h1, b1) = low, high
        inside = ((a0 + a1) / 2, (h0 + h1) / 2, (b0 + b1) / 2)
        for b in (b0, b1):
            self.face([(a0, h0, b), (a1, h0, b), (a1, h1, b), (a0, h1, b)], color, inside=inside)
        for a in (a0, a1):
            self.face([(a, h0, b0), (a, h0, b1), (a, h1, b1), (a, h1, b0)], color, inside=inside)
        for h in (h0, h1):
            self.face(
                [(a0, h, b0), (a1, h, b0), (a1, h, b1), (a0, h, b1)],
                color if top_color is None else top_color,
                inside=inside,
            )

    def hull(self, balls: Sequence[tuple[Point, float]], color: Color, lamp: int = 0) -> None:
        """The outline around balls (centre, radius): limbs, heads, torsos, tubes; lit from the sun's side."""
        centres = self.world([centre for centre, _ in balls])
        if centres[:, 2].min() < NEAR:
            return
        scale = self.canvas.camera.focal / centres[:, 2]
        pixels = self.canvas.camera.project(centres)
        radii = np.maximum([radius * self.size for _, radius in balls] * scale, 0.55)
        depth = float(centres[:, 2].min())
        toward = self.canvas.toward_sun
        facing = 0.5 - 0.5 * toward[2]
        dark, bright = 110 * facing + 20, 140 * facing + 90
        self._round(pixels, radii, color, (dark, 150, 25.5, lamp), depth)
        if radii.max() > 2.5:
            step = np.array([toward[0], -toward[1]]) * 0.3
            self._round(pixels + step * radii[:, None], radii * 0.68, color, (bright, 190, 25.5, lamp), depth)

    def _round(self, pixels: np.ndarray, radii: np.ndarray, color: Color, light: Sequence[float], depth: float) -> None:
        ring = (pixels[:, None] + radii[:, None, None] * _CIRCLE).reshape(-1, 2).astype(np.float32)
        self.canvas.polygon(cv2.convexHull(ring)[:, 0], self.label, color, light, depth)

    def disc(self, centre: Point, radius: float, color: Color) -> None:
        """A wheel's side: a circle in the plane a = const."""
        a, h, b = centre
        points = [(a, h + radius * sin, b + radius * cos) for cos, sin in _WHEEL]
        self.face(points, color, inside=(0, h, b))

    def spoked_wheel(self, centre: Point, radius: float, tyre: float, color: Color, rim: Color) -> None:
        """An open wheel in the plane a = const: one sees through it, but the label covers it."""
        a, h, b = centre
        points = self.world([(a, h + radius * sin, b + radius * cos) for cos, sin in _WHEEL])
        if points[:, 2].min() < NEAR:
            return
        corners = self.canvas.camera.project(points)
        depth = float(points[:, 2].mean())
        self.canvas.polygon(corners, self.label, None, (), depth)
        for cos, sin in _WHEEL[:10:2]:
            reach = radius * np.array([sin, cos])
            ends = [(a, h + reach[0], b + reach[1]), (a, h - reach[0], b - reach[1])]
            if self.pixels_per_metre * radius > 12:
                self.hull([(ends[0], 0.004), (ends[1], 0.004)], rim)
        outline = [np.round(corners * 16).astype(np.int32)]
        width = max(1, round(2 * tyre * self.size * self.pixels_per_metre))
        cv2.polylines(self.canvas.albedo, outline, True, [float(c) for c in color], width, cv2.LINE_8, 4)
        cv2.polylines(self.canvas.light, outline, True, (60, 150, 20, 0), width, cv2.LINE_8, 4)
        cv2.polylines(self.canvas.label, outline, True, self.label, width, cv2.LINE_8, 4)
        cv2.polylines(self.canvas.depth, outline, True, depth, width, cv2.LINE_8, 4)
