"""Five-number summary of a stream of values in bounded memory."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_BINS = 2048
_OCTAVES = 24  # of numbers from 1 on: up to 2 ** 24


class Summary(NamedTuple):
    """Number of values, their mean, and the five numbers of a box plot."""

    count: int
    mean: float
    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float


class Distribution:
    """The distributions of several quantities, such as one statistic of all heads of a layer.

    Count, mean, minimum and maximum are exact. For the quartiles values are counted in 2048 bins: of width 1/2048 for
    shares and cosines, 0 to 1, and 0.8% wide for numbers from 1 to 2**24, as of tokens. A quartile, which
    interpolates between the two values around it as in ``numpy.quantile``, is off by half a bin at most: 0.00025, or
    0.4%.

    Args:
        size: quantities.
        from_one: the values are numbers from 1 on, such as of tokens; else shares or cosines.
    """

    def __init__(self, size: int, from_one: bool = False) -> None:
        self.from_one = from_one
        self._counts = np.zeros((size, _BINS), np.uint32)
        self._total = np.zeros(size)
        self._minimum = np.full(size, np.inf)
        self._maximum = np.full(size, -np.inf)

    def add(self, values: np.ndarray) -> None:
        """Count ``(n, size)`` values.

        Raises:
            ValueError: a value is not finite.
        """
        if not np.isfinite(values).all():
            raise ValueError('a statistic of the attention is not finite: are the weights of the model?')
        unit = np.log2(np.maximum(values, 1)) / _OCTAVES if self.from_one else values
        bins = np.clip(unit * _BINS, 0, _BINS - 1).astype(int)
        for quantity, column in enumerate(bins.T):
            np.add.at(self._counts[quantity], column, 1)
        self._total += values.sum(0)
        self._minimum = np.minimum(self._minimum, values.min(0))
        self._maximum = np.maximum(self._maximum, values.max(0))

    def each(self) -> list[Summary]:
        """The summary of each quantity."""
        return [
            self._summary(*numbers)
            for numbers in zip(self._counts, self._total, self._minimum, self._maximum, strict=True)
        ]

    @classmethod
    def pooled(cls, parts: Sequence['Distribution']) -> Summary:
        """The summary of all quantities of several distributions of one kind together."""
        return parts[0]._summary(
            sum(part._counts.sum(0, dtype=np.int64) for part in parts),
            sum(part._total.sum() for part in parts),
            min(part._minimum.min() for part in parts),
            max(part._maximum.max() for part in parts),
        )

    def _summary(self, counts: np.ndarray, total: float, minimum: float, maximum: float) -> Summary:
        number = int(counts.sum())
        up_to = np.cumsum(counts)
        middles = (np.arange(_BINS) + 0.5) / _BINS
        middles = np.clip(2 ** (_OCTAVES * middles) if self.from_one else middles, minimum, maximum)

        def quantile(share: float) -> float:
            position = share * (number - 1)
            below, above = (
                middles[np.searchsorted(up_to, rank, side='right')] for rank in (int(position), int(np.ceil(position)))
            )
            return float(below + (position - int(position)) * (above - below))

        quartiles = (quantile(share) for share in (0.25, 0.5, 0.75))
        return Summary(number, float(total / number), float(minimum), *quartiles, float(maximum))
