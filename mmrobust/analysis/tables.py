"""Attention statistics of all layers and heads of a model, and the dilations of its TAP, streamed over images."""

# B batch, H W token grid, K branches

from collections.abc import Iterator, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from mmrobust.analysis.attention_statistics import STATISTICS
from mmrobust.analysis.distribution import Distribution, Summary

COLUMNS = ('images', 'statistic', 'layer', 'head', *Summary._fields)
DILATION_COLUMNS = ('images', 'layer', 'dilation', 'reading', *Summary._fields)
READINGS = ('mean weight', 'share of tokens')
PAIRS = 'clean-corrupted'


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
