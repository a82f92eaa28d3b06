"""The plan of one street, drawn from (seed, split, index): first the road, then the plots beside it, then the traffic.

Street coordinates are metres: ``u`` to the right of the road's middle, ``s`` along the road from the camera. A plan
knows no pixels; `scene` draws it.
"""

from dataclasses import dataclass, field

import numpy as np

from .camera import Sun

LENGTH = 135.0  # how far a street is built, metres
SPLITS = ('train', 'val')

# In every block of four consecutive scenes each of these is drawn once, in a random order: so any eight consecutive
# scenes hold all of them, however rare they are in a real street.
_TURNS = {
    'heavy': ('bus', 'train', 'truck', 'any'),
    'wheels': ('cyclist', 'motorcyclist', 'parked', 'any'),
    'border': ('wall', 'fence', 'lawn', 'any'),
}


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


class Traffic:
    """Places things in a street so that none stands in another, nor hides what the scene must show."""

    LENGTHS = {'car': 4.6, 'bus': 12.0, 'truck': 8.5, 'train': 24.0, 'cyclist': 1.8, 'motorcyclist': 2.1,
               'bicycle': 1.8, 'motorcycle': 2.1, 'person': 0.6}  # fmt: skip
    WIDTHS = {'car': 1.85, 'bus': 2.55, 'truck': 2.5, 'train': 2.5, 'cyclist': 0.7, 'motorcyclist': 0.9,
              'bicycle': 0.7, 'motorcycle': 0.9, 'person': 0.6}  # fmt: skip

    def __init__(self, rng: np.random.Generator, street: Street, must: dict[str, str]) -> None:
        self.rng = rng
        self.street = street
        self.must = must
        self.taken: list[tuple[float, float, float, float]] = []  # u low, u high, s low, s high
        self.views: list[tuple[float, float, float]] = []  # x / z low, high, distance of what must stay in sight

    def fill(self) -> None:
        """Place everything, what must be seen first."""
        self._heavy()
        self._wheels()
        self._furniture()
        self._pedestrians()
        self._cars()
        self._trees()
        self.street.things.sort(key=lambda thing: -(thing.s + thing.order))

    def add(self, kind: str, u: float, s: float, oncoming: bool = False, must: bool = False, turn: float = 0.0) -> bool:
        """Place one thing with its middle at (u, s); False when there is no room for it."""
        half_s = self.LENGTHS.get(kind, 0.4) / 2
        half_u = self.WIDTHS.get(kind, 0.4) / 2
        if abs(turn) > 0.8:
            half_s, half_u = half_u, half_s
        box = (u - half_u - 0.15, u + half_u + 0.15, s - half_s - 0.3, s + half_s + 0.3)
        if any(box[0] < b[1] and b[0] < box[1] and box[2] < b[3] and b[2] < box[3] for b in self.taken):
            return False
        near = s - half_s
        x, _ = self.street.place(u, s)
        view = ((x - half_u) / near, (x + half_u) / near)
        if not must and any(
            near < distance and min(view[1], high) - max(view[0], low) > 0.15 * (high - low)
            for low, high, distance in self.views
        ):
            return False
        if must:
            self.views.append((*view, near))
        self.taken.append(box)
        heading = self.street.heading(s) + (np.pi if oncoming else 0.0) + turn
        order = -half_s if kind in ('bus', 'truck', 'train') else 0.0
        self.street.things.append(Thing(kind, u, s, heading, int(self.rng.integers(1 << 31)), order))
        return True

    def _lanes(self, side: Side) -> list[float]:
        count = int((side.kerb - side.parking) / self.street.lane)
        return [self.street.lane * (i + 0.5) for i in range(count)]

    def _heavy(self) -> None:
        kind = self.must['heavy']
        rng, street = self.rng, self.street
        if kind == 'any':
            kind = str(rng.choice(['bus', 'truck', 'car']))
        half = self.LENGTHS[kind] / 2
        if kind == 'train':
            self.add(kind, street.rails, rng.uniform(10, 18) + half, oncoming=street.rails < 0, must=True)
        elif rng.random() < 0.5:
            self.add(kind, -self._lanes(street.left)[0], rng.uniform(9, 24) + half, oncoming=True, must=True)
        else:
            lane = self._lanes(street.right)[-1]
            self.add(kind, lane + 0.3, rng.uniform(9, 20) + half, must=True)

    def _wheels(self) -> None:
        rng, street = self.rng, self.street
        kind = self.must['wheels']
        right = street.right.kerb - street.right.parking
        if kind in ('cyclist', 'motorcyclist'):
            self._rider(kind, right)
        if kind == 'parked':
            for two in ('motorcycle', 'bicycle'):
                side, sign = (street.right, 1) if rng.random() < 0.5 else (street.left, -1)
                start = max(8.5, 2.3 * abs(sign * (side.kerb + 0.8) - street.eye_u))
                for step in range(int(rng.integers(1, 4))):
                    turn = rng.choice([0.0, 1.1]) + rng.normal(0, 0.1)
                    self.add(two, sign * (side.kerb + 0.8), start + 1.3 * step + rng.uniform(0, 0.4), must=True,
                             turn=-sign * turn)  # fmt: skip
        for _ in range(rng.integers(0, 4)):
            self.add(str(rng.choice(['cyclist', 'cyclist', 'motorcyclist'])), right - 0.7, rng.uniform(14, 50))
            self.add('bicycle', street.left.kerb * -1 - 0.7, rng.uniform(15, 40), turn=rng.normal(0.2, 0.4))

    def _rider(self, kind: str, right: float) -> None:
        """A rider close ahead: along the right edge of the road, or crossing it."""
        rng, street = self.rng, self.street
        for attempt in range(12):
            if attempt < 8 and rng.random() < 0.65:
                if self.add(kind, right - rng.uniform(0.5, 1.0), rng.uniform(6.5, 12), must=True):
                    return
            else:
                u = street.eye_u + rng.uniform(-2.5, 2.5)
                turn = float(rng.choice([-1, 1])) * np.pi / 2
                if self.add(kind, u, rng.uniform(8, 13), must=True, turn=turn):
                    return

    def _furniture(self) -> None:
        rng, street = self.rng, self.street
        stop_line = street.crossing[0] if street.crossing else None
        for sign, side in ((-1, street.left), (1, street.right)):
            s = rng.uniform(7, 14)
            while s < LENGTH * 0.8:
                self._stand('lamp', sign * (side.kerb + 0.5), s, sign)
                s += rng.uniform(20, 28)
            if stop_line is not None and rng.random() < 0.75:
                self._stand('signal', sign * (side.kerb + 0.6), stop_line - 1.0, sign)
                self._stand('signal', sign * (side.kerb + 0.6), street.crossing[1] + 1.0, sign)
            for _ in range(rng.integers(1, 4)):
                self._stand('sign', sign * (side.kerb + 0.45), rng.uniform(9, 40), sign)
            if rng.random() < 0.4:
                self._stand('bin', sign * (side.front - 0.4), rng.uniform(10, 30), sign)
        self._stand('sign', street.right.kerb + 0.45, max(9.0, 2.1 * street.right.kerb) + rng.uniform(0, 3), 1)
        if stop_line is None or rng.random() < 0.4:
            self._stand('signal', street.right.kerb + 0.5, rng.uniform(13, 20), 1)

    def _stand(self, kind: str, u: float, s: float, sign: int) -> None:
        """Slim things hide little: they may stand in front of others."""
        heading = self.street.heading(s) + (np.pi if sign < 0 else 0.0)
        self.taken.append((u - 0.2, u + 0.2, s - 0.2, s + 0.2))
        self.street.things.append(Thing(kind, u, s, heading, int(self.rng.integers(1 << 31))))

    def _pedestrians(self) -> None:
        rng, street = self.rng, self.street
        for sign, side in ((-1, street.left), (1, street.right)):
            low, high = side.kerb + side.verge + 0.5, side.front - 0.4
            for _ in range(rng.integers(3, 8)):
                s = rng.triangular(8, 14, 60)
                u = sign * rng.uniform(low, high)
                if self.add('person', u, s, oncoming=bool(rng.random() < 0.5), turn=rng.normal(0, 0.3)):
                    for _ in range(rng.choice([0, 0, 1, 2])):
                        self.add('person', u + rng.choice([-0.7, 0.7]), s + rng.uniform(-0.3, 0.3))
        if street.crossing is not None:
            for _ in range(rng.integers(0, 4)):
                u = rng.uniform(-street.left.kerb, street.right.kerb)
                turn = float(rng.choice([-1, 1]) * np.pi / 2)
                self.add('person', u, street.crossing[0] - rng.uniform(1.5, 4), turn=turn)

    def _cars(self) -> None:
        rng, street = self.rng, self.street
        for sign, side in ((-1, street.left), (1, street.right)):
            for lane in self._lanes(side):
                s = rng.uniform(9, 26) if sign > 0 else rng.uniform(12, 30)
                while s < 85:
                    kind = 'car' if rng.random() < 0.93 else str(rng.choice(['truck', 'bus']))
                    if street.rails is None or sign * street.rails < 0 or s > 45:
                        self.add(kind, sign * lane, s + self.LENGTHS[kind] / 2, oncoming=sign < 0)
                    s += 6 + rng.exponential(16)
            if side.parking:
                s = rng.uniform(6, 10)
                while s < 75:
                    clear = street.crossing is None or not street.crossing[0] - 8 < s < street.crossing[1] + 6
                    if rng.random() < 0.7 and clear:
                        self.add('car', sign * (side.kerb - 1.1), s + 2, oncoming=sign < 0, turn=rng.normal(0, 0.02))
                    s += rng.uniform(5.0, 6.2)

    def _trees(self) -> None:
        rng, street = self.rng, self.street
        for sign, side in ((-1, street.left), (1, street.right)):
            if side.verge or rng.random() < 0.5:
                s, gap = rng.uniform(12, 20), rng.uniform(8, 15)
                while s < 100:
                    clear = street.crossing is None or not street.crossing[0] - 6 < s < street.crossing[1] + 3
                    if clear:
                        offset = side.verge / 2 if side.verge else 0.9
                        self._stand('tree', sign * (side.kerb + offset), s, sign)
                    s += gap * rng.uniform(0.8, 1.3)
            for plot in side.plots:
                self._plant(sign, side, plot)

    def _plant(self, sign: int, side: Side, plot: Plot) -> None:
        rng = self.rng
        if plot.kind == 'house':
            return
        depth = plot.setback if plot.kind == 'garden' else 14.0
        for _ in range(rng.integers(0, 3) if plot.kind == 'garden' else rng.integers(4, 8)):
            u = side.front + rng.uniform(1.0, max(1.2, depth - 0.5))
            kind = 'tree' if rng.random() < 0.45 or u > side.front + 5 else 'bush'
            thing = Thing(kind, sign * u, rng.uniform(plot.start, plot.stop), 0.0, int(rng.integers(1 << 31)), 3.0)
            self.street.things.append(thing)
