"""The plan of one street: road, pavements, plots and everything that stands on them, drawn from one generator.

Street coordinates are metres: ``u`` to the right of the road's middle, ``s`` along the road from the camera. A plan
knows no pixels; `scene` draws it.
"""

from dataclasses import dataclass, field

import numpy as np

from .camera import Sun

LENGTH = 135.0  # how far a street is built, metres


@dataclass(frozen=True)
class Thing:
    """Something standing in the street: what, where (u, s), turned how, drawn from which seed."""

    kind: str
    u: float
    s: float
    heading: float = 0.0
    seed: int = 0
    order: float = 0.0  # added to s when sorting from far to near


@dataclass(frozen=True)
class Plot:
    """Ground beside one pavement from ``start`` to ``stop``: 'house', 'garden', 'park' or 'gap' (the side street)."""

    kind: str
    start: float
    stop: float
    setback: float  # metres from the pavement to the house front
    border: str  # '', 'wall', 'fence' or 'hedge' along the pavement
    storeys: int
    seed: int


@dataclass
class Side:
    """One side of the street; widths in metres, counted outwards from the middle of the road."""

    kerb: float
    parking: float
    verge: float
    pavement: float
    plots: list[Plot] = field(default_factory=list)

    @property
    def front(self) -> float:
        """Distance from the middle of the road to the outer edge of the pavement."""
        return self.kerb + self.verge + self.pavement


@dataclass
class Street:
    """Everything about one scene except its pixels."""

    seed: int
    sun: Sun
    curvature: float
    yaw: float
    pitch: float
    focal: float
    eye: float
    eye_u: float
    lane: float
    left: Side
    right: Side
    crossing: tuple[float, float] | None
    rails: float | None
    bonnet: bool
    things: list[Thing] = field(default_factory=list)

    def bend(self, s: np.ndarray | float) -> np.ndarray | float:
        """World x of the road's middle at distance s."""
        return self.curvature * s * s / 2 + self.yaw * s - self.eye_u

    def place(self, u: float, s: float) -> tuple[float, float]:
        """World (x, z) of a street coordinate."""
        return u + self.bend(s), s

    def heading(self, s: float) -> float:
        """Direction of the road at distance s, radians to the right."""
        return float(np.arctan(self.curvature * s + self.yaw))
