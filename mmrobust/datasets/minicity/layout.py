"""Lay out a street from (seed, split, index): first the road, then the plots beside it, then the traffic."""

import numpy as np

from .camera import Sun
from .street import LENGTH, Plot, Side, Street
from .traffic import Traffic

SPLITS = ('train', 'val')

# In every block of four consecutive scenes each of these is drawn once, in a random order: so any eight consecutive
# scenes hold all of them, however rare they are in a real street.
_TURNS = {
    'heavy': ('bus', 'train', 'truck', 'any'),
    'wheels': ('cyclist', 'motorcyclist', 'parked', 'any'),
    'border': ('wall', 'fence', 'lawn', 'any'),
}


def turns(seed: int, split: str, index: int) -> dict[str, str]:
    """Which of the rare things scene ``index`` must show, by category."""
    block, position = divmod(index, 4)
    rng = np.random.default_rng([seed, SPLITS.index(split), block, 1])
    return {category: kinds[rng.permutation(4)[position]] for category, kinds in _TURNS.items()}


def lay_out(seed: int, split: str, index: int) -> Street:
    """Plan scene ``index`` of a split; the same arguments always give the same street.

    Raises:
        ValueError: for an unknown split, or a negative seed or index.
    """
    if split not in SPLITS:
        raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
    if seed < 0 or index < 0:
        raise ValueError(f'seed and index must be 0 or more, got seed={seed} and index={index}')
    must = turns(seed, split, index)
    rng = np.random.default_rng([seed, SPLITS.index(split), index, 0])
    street = _road(rng, must)
    for side in (street.left, street.right):
        _plots(rng, street, side, must['border'])
    Traffic(rng, street, must).fill()
    return street


def _road(rng: np.random.Generator, must: dict[str, str]) -> Street:
    lane = rng.uniform(2.9, 3.5)
    ahead, oncoming = rng.choice([1, 1, 2]), rng.choice([1, 1, 2])
    sides = []
    for lanes in (oncoming, ahead):
        parking = rng.choice([0.0, 2.2, 2.2]) if must['border'] == 'any' else rng.choice([0.0, 0.0, 0.0, 2.2])
        kerb = lanes * lane + parking + rng.uniform(0.2, 0.6)
        verge = rng.choice([0.0, 0.0, rng.uniform(1.0, 2.2)])
        sides.append(Side(kerb, parking, verge, rng.uniform(2.2, 4.2)))
    start = rng.uniform(20, 42)
    return Street(
        seed=int(rng.integers(1 << 31)),
        sun=Sun(rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(24, 58))),
        curvature=rng.choice([-1, 1]) * rng.choice([0.0, rng.uniform(1 / 700, 1 / 180)]),
        yaw=np.radians(rng.normal(0, 1.6)),
        pitch=rng.normal(0.45, 0.022),
        focal=rng.uniform(0.86, 1.05),
        eye=rng.uniform(1.3, 1.6),
        eye_u=lane * (rng.integers(ahead) + 0.5),
        lane=lane,
        left=sides[0],
        right=sides[1],
        crossing=(start, start + rng.uniform(7, 11)) if rng.random() < 0.6 else None,
        rails=rng.choice([-0.5, -0.5, 0.5]) * lane if must['heavy'] == 'train' else None,
        bonnet=bool(rng.random() < 0.6),
    )


def _plots(rng: np.random.Generator, street: Street, side: Side, must: str) -> None:
    """Divide the ground along one side into plots; what must be shown lines the nearer ones."""
    urban = rng.random() < 0.62 and must == 'any'
    storeys = int(rng.integers(2, 6))
    s = rng.uniform(3.0, 6.0)
    edges = street.crossing or (1e9, 1e9)
    while s < LENGTH:
        length = rng.uniform(9, 18)
        stop = s + length
        if s < edges[0] < stop + 5:
            stop = edges[0] - 1.5
        kind, setback, border = 'house', 0.0, ''
        if not urban or rng.random() < 0.12:
            kind = 'park' if rng.random() < 0.3 else 'garden'
            setback = rng.uniform(3.0, 7.0)
            border = rng.choice(['', 'wall', 'fence', 'hedge'])
        if must != 'any' and s < 60:
            kind = 'park' if must == 'lawn' and rng.random() < 0.4 else 'garden'
            setback = max(setback, rng.uniform(4.0, 7.0))
            border = '' if must == 'lawn' else must
        if stop - s > 3:
            height = max(2, storeys + int(rng.integers(-1, 2)))
            side.plots.append(Plot(kind, s, stop, setback, str(border), height, int(rng.integers(1 << 31))))
        s = stop
        if abs(stop - (edges[0] - 1.5)) < 1e-6:
            s = edges[1] + 1.5
