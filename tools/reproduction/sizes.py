"""Parameters and MACs of what a config builds, beside what is published."""

from collections.abc import Iterable
from dataclasses import dataclass

from mmengine.config import Config

from mmrobust.complexity import build, count
from reproduction.entries import Figure

__all__ = ['TOLERANCE', 'Comparison', 'Size', 'compare', 'size_of']

TOLERANCE = 0.01


@dataclass(frozen=True)
class Size:
    """Model that a config builds.

    Attributes:
        parameters: in millions.
        macs: in units of 1e9, by height and width of the image in pixels.
    """

    parameters: float
    macs: dict[tuple[int, int], float]


@dataclass(frozen=True)
class Comparison:
    """A published number and the counted one.

    Attributes:
        figure: what is published.
        counted: the number of what the config builds.
    """

    figure: Figure
    counted: float

    @property
    def deviation(self) -> float:
        """Counted over published, minus 1."""
        return self.counted / self.figure.value - 1

    @property
    def verdict(self) -> str:
        """``'ok'``, ``'explained'``, ``'too far'``, or ``'reason not needed'``."""
        if abs(self.deviation) <= TOLERANCE:
            return 'ok' if self.figure.why is None else 'reason not needed'
        return 'explained' if self.figure.why else 'too far'

    @property
    def passed(self) -> bool:
        """Whether the number is near, or said to be far for a reason."""
        return self.verdict in ('ok', 'explained')


def size_of(config: Config, shapes: Iterable[tuple[int, int]]) -> Size:
    """Build a config's model and count.

    Args:
        config: of a segmentor or a classifier.
        shapes: height and width of the images in pixels.
    """
    model = build(config)
    macs = {}
    for shape in shapes:
        parameters, operations = count(model, shape)['whole']
        macs[shape] = operations / 1e9
    return Size(parameters / 1e6, macs)


def compare(figures: Iterable[Figure], size: Size) -> list[Comparison]:
    """Published numbers beside those of what was built."""
    return [
        Comparison(figure, size.parameters if figure.quantity == 'parameters' else size.macs[figure.shape])
        for figure in figures
    ]
