"""A pinhole camera above a flat ground, and the sun.

World coordinates are metres: x to the right, y up from the ground, z forward. The camera stands at (0, eye, 0). A small
pitch is modelled as a shifted horizon, so that upright edges stay upright in the image, as with a shift lens.
"""

from dataclasses import dataclass

import numpy as np

NEAR = 0.8


@dataclass(frozen=True)
class Camera:
    """Projection of the world onto an image of ``width`` x ``height`` pixels.

    ``focal``, ``horizon`` (row) and ``centre`` (column) are pixels, ``eye`` is metres.
    """

    width: int
    height: int
    focal: float
    horizon: float
    centre: float
    eye: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) as (column, row) of world points (N, 3); every z must be positive."""
        scale = self.focal / points[:, 2]
        pixels = np.empty((len(points), 2))
        pixels[:, 0] = self.centre + points[:, 0] * scale
        pixels[:, 1] = self.horizon + (self.eye - points[:, 1]) * scale
        return pixels

    def ground_depth(self, rows: np.ndarray) -> np.ndarray:
        """Distance z in metres at which rows below the horizon meet the ground."""
        return self.focal * self.eye / (rows - self.horizon)

    def base_row(self, depth: np.ndarray) -> np.ndarray:
        """Row at which something standing at distance ``depth`` touches the ground."""
        return self.horizon + self.focal * self.eye / depth

    def clip(self, points: np.ndarray) -> np.ndarray:
        """The part of a planar polygon (N, 3) in front of the camera, (M, 3); M may be 0."""
        kept = []
        for here, there in zip(points, np.roll(points, -1, axis=0), strict=True):
            if here[2] >= NEAR:
                kept.append(here)
            if (here[2] >= NEAR) != (there[2] >= NEAR):
                share = (NEAR - here[2]) / (there[2] - here[2])
                kept.append(here + share * (there - here))
        return np.array(kept).reshape(-1, 3)


@dataclass(frozen=True)
class Sun:
    """Where the sun stands: azimuth 0 is straight ahead, positive to the right; both angles are radians."""

    azimuth: float
    elevation: float

    @property
    def direction(self) -> np.ndarray:
        """Unit vector (3,) towards the sun."""
        flat = np.cos(self.elevation)
        return np.array([np.sin(self.azimuth) * flat, np.sin(self.elevation), np.cos(self.azimuth) * flat])

    def shadow_offset(self) -> np.ndarray:
        """Ground displacement (x, z) of the shadow of a point one metre high."""
        x, y, z = self.direction
        return -np.array([x, z]) / y
