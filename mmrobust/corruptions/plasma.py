"""Plasma fractal: random clouds, made by the diamond-square algorithm."""

import numpy as np


def plasma_fractal(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a map of clouds that is seamless: its right edge continues at the left, its lower one at the top.

    From a single point on, the grid of known points is refined until it is full: first the middle of every square,
    then of every edge becomes the mean of its four neighbours, plus uniform noise.

    Args:
        side: of the map, in pixels; a power of two.
        decay: the noise's amplitude is divided by its square from one grid to the next finer one. The larger, the
            smoother the clouds.
        rng: draws ``side**2 - 1`` numbers.

    Returns:
        float32 ``(side, side)``, scaled to [0, 1].
    """
    grid = np.zeros((1, 1), np.float32)
    amplitude = 1.0  # the scale does not matter
    while len(grid) < side:
        finer = np.empty((2 * len(grid), 2 * len(grid)), np.float32)
        finer[::2, ::2] = grid
        centres = _mean_of_four(grid, _next(grid, 0), _next(grid, 1), _next(_next(grid, 0), 1), amplitude, rng)
        finer[1::2, 1::2] = centres
        finer[::2, 1::2] = _mean_of_four(grid, _next(grid, 1), centres, _previous(centres, 0), amplitude, rng)
        finer[1::2, ::2] = _mean_of_four(grid, _next(grid, 0), centres, _previous(centres, 1), amplitude, rng)
        grid = finer
        amplitude /= decay**2
    grid -= grid.min()
    grid /= grid.max()
    return grid


def _mean_of_four(a, b, c, d, amplitude: float, rng: np.random.Generator) -> np.ndarray:
    noise = rng.random(a.shape, dtype=np.float32)
    noise -= np.float32(0.5)
    noise *= np.float32(8 * amplitude)
    noise += a
    noise += b
    noise += c
    noise += d
    noise *= np.float32(0.25)
    return noise


def _next(grid: np.ndarray, axis: int) -> np.ndarray:
    return np.roll(grid, -1, axis)


def _previous(grid: np.ndarray, axis: int) -> np.ndarray:
    return np.roll(grid, 1, axis)
