"""Attention statistics of all layers and heads of a model, streamed over images."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from mmrobust.analysis.attention_statistics import STATISTICS
from mmrobust.analysis.distribution import Distribution, Summary

__all__ = ['StatisticsTable', 'clean_and_corrupted']

COLUMNS = ('pictures', 'statistic', 'layer', 'head', *Summary._fields)
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
                parts = {PAIRS: values} if STATISTICS[name].of_pairs else clean_and_corrupted(values, paired)
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


def clean_and_corrupted(values: Tensor, paired: bool) -> dict[str, Tensor]:
    """Values of images, ``(I, ...)``: of the clean ones and, in the second half of a paired batch, the corrupted."""
    return dict(zip(('clean', 'corrupted'), values.chunk(2), strict=True)) if paired else {'clean': values}
