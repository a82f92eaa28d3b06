"""Dilations chosen by the tokens of a TAP layer."""

# B batch, H W token grid, K branches

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor

from mmrobust.analysis.distribution import Distribution, Summary
from mmrobust.analysis.statistics_table import clean_and_corrupted

__all__ = ['DilationTable', 'dilation_shares']

COLUMNS = ('pictures', 'layer', 'dilation', 'reading', *Summary._fields)
READINGS = ('mean weight', 'share of tokens')


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
                for images, part in clean_and_corrupted(shares, paired).items():
                    found = self._of.setdefault((images, layer, reading), Distribution(part.size(1)))
                    found.add(part.double().cpu().numpy())

    def rows(self) -> Iterator[tuple]:
        """Everything, as rows of ``COLUMNS``; layers count from 1. None for a model without TAP."""
        for (images, layer, reading), found in self._of.items():
            for dilation, summary in enumerate(found.each()):
                yield images, layer, dilation, reading, *summary
