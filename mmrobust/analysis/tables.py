"""Attention statistics of all layers and heads of a model, and the dilations of its TAP, streamed over images.

Memory is bounded: of each statistic the distribution is kept, not the values.
"""

# B batch, H W token grid, K branches

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from mmrobust.analysis.attention_statistics import STATISTICS

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


COLUMNS = ('images', 'statistic', 'layer', 'head', *Summary._fields)
DILATION_COLUMNS = ('images', 'layer', 'dilation', 'reading', *Summary._fields)
READINGS = ('mean weight', 'share of tokens')
PAIRS = 'clean-corrupted'


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


class StatisticsTable:
    """Collects what :class:`~mmrobust.analysis.AttentionStatistics` finds, as distributions over images.

    Memory does not depend on how many images there are.

    Attributes:
        num_images: images so far; an image and its corrupted copy are one.
    """

    def __init__(self) -> None:
        self.num_images = 0
        self._of: dict[tuple[str, str], dict[int, Distribution]] = {}

    def add(self, layers: Sequence[Mapping[str, Tensor]], paired: bool = False) -> None:
        """Add a batch.

        Args:
            layers: for each layer, statistic to ``(I, H)``, or to ``(I, 1)`` if it is not of heads.
            paired: the second half of the images is the first half corrupted.
        """
        self.num_images += len(layers[0]['self_share']) // (2 if paired else 1)
        for layer, found in enumerate(layers, start=1):
            for name, values in found.items():
                parts = {PAIRS: values} if STATISTICS[name].of_pairs else _clean_and_corrupted(values, paired)
                for images, part in parts.items():
                    of_layers = self._of.setdefault((images, name), {})
                    if layer not in of_layers:
                        of_layers[layer] = Distribution(part.size(1), STATISTICS[name].from_one)
                    of_layers[layer].add(part.double().cpu().numpy())

    def boxes(self, name: str, images: str) -> dict[int | None, Summary]:
        """A statistic over images and heads: of all layers together under None, and of each layer that has it.

        Empty if there is no such statistic, as for heads that are alone or images that are not corrupted.
        """
        layers = self._of.get((images, name))
        if not layers:
            return {}
        return {
            None: Distribution.pooled(list(layers.values())),
            **{layer: Distribution.pooled([found]) for layer, found in layers.items()},
        }

    def rows(self) -> Iterator[tuple]:
        """Everything, as rows of ``COLUMNS``; layer and head count from 1, and ``all`` pools them or has no heads."""
        for (images, name), layers in self._of.items():
            for layer, box in self.boxes(name, images).items():
                yield images, name, 'all' if layer is None else layer, 'all', *box
                if layer is not None and STATISTICS[name].of_heads:
                    for head, summary in enumerate(layers[layer].each(), start=1):
                        yield images, name, layer, head, *summary


def dilation_shares(weights: Tensor) -> tuple[Tensor, Tensor]:
    """How often each dilation is chosen, in the two readings that the paper's "predict which dilation" allows.

    Args:
        weights: ``(B, H, W, K)``, as :meth:`~mmrobust.models.layers.TokenAwareAvgPool.weights` returns them; they sum
            to 1 over K, and branch d has dilation d (0: the token itself).

    Returns:
        Mean weight of each branch, ``1 / HW * sum_p w_d(p)``, and the share of tokens for which it is the largest,
        ``1 / HW * |{p: argmax_d w_d(p) = d}|``: ``(B, K)`` each, sums to 1.
    """
    chosen = F.one_hot(weights.argmax(-1), weights.size(-1)).to(weights.dtype)
    return weights.mean((1, 2)), chosen.mean((1, 2))


class DilationTable:
    """Collects the :func:`dilation_shares` of all layers that have TAP, as distributions over images."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, int, str], Distribution] = {}

    def add(self, layers: Sequence[Tensor | None], paired: bool = False) -> None:
        """Add a batch.

        Args:
            layers: ``tap_weights`` of the :class:`~mmrobust.models.layers.AttentionView` of each layer.
            paired: the second half of the images is the first half corrupted.
        """
        for layer, weights in enumerate(layers, start=1):
            if weights is None:
                continue
            for reading, shares in zip(READINGS, dilation_shares(weights), strict=True):
                for images, part in _clean_and_corrupted(shares, paired).items():
                    found = self._of.setdefault((images, layer, reading), Distribution(part.size(1)))
                    found.add(part.double().cpu().numpy())

    def rows(self) -> Iterator[tuple]:
        """Everything, as rows of ``DILATION_COLUMNS``; layers count from 1. None for a model without TAP."""
        for (images, layer, reading), found in self._of.items():
            for dilation, summary in enumerate(found.each()):
                yield images, layer, dilation, reading, *summary


def _clean_and_corrupted(values: Tensor, paired: bool) -> dict[str, Tensor]:
    """Values of images, ``(I, ...)``: of the clean ones and, in the second half of a paired batch, the corrupted."""
    return dict(zip(('clean', 'corrupted'), values.chunk(2), strict=True)) if paired else {'clean': values}
