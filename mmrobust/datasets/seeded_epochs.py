"""Epoch samplers with a seed for every sample."""

from collections.abc import Iterator
from itertools import islice

from mmengine.dataset import DefaultSampler
from mmpretrain.datasets import RepeatAugSampler
from torch.utils.data import Dataset

from mmrobust.datasets.seeded_sampling import SeededIndex, take_seeds
from mmrobust.randomness import derive_seed
from mmrobust.registry import DATA_SAMPLERS

__all__ = ['SeededEpochSampler', 'SeededRepeatAugSampler']


class SeededEpochs:
    """Sampler mix-in, left of the sampler class: the same indices, with seeds from (seed, epoch, position).

    Positions are counted over all ranks. So a run that is resumed, after an epoch or within one, sees what an
    undisturbed one sees.

    Raises:
        TypeError: It is no dataset, such as a list.
    """

    def __init__(self, dataset: Dataset, *args, **kwargs) -> None:
        take_seeds(dataset)
        super().__init__(dataset, *args, **kwargs)
        self.skipped = 0

    def __iter__(self) -> Iterator[SeededIndex]:
        skipped, self.skipped = self.skipped, 0
        for count, index in islice(enumerate(super().__iter__()), skipped, None):
            yield SeededIndex(index, derive_seed(self.seed, self.epoch, self.rank + count * self.world_size))

    def skip_in_next_epoch(self, num_samples: int) -> None:
        """Leave out the first ``num_samples`` samples of this rank, once: a run is resumed within an epoch."""
        self.skipped = num_samples

    def reseed(self, seed: int) -> None:
        """Take the seed of the run that is resumed, which MMEngine learns only after it has built the sampler."""
        self.seed = seed


@DATA_SAMPLERS.register_module()
class SeededEpochSampler(SeededEpochs, DefaultSampler):
    """MMEngine's ``DefaultSampler`` that yields ``SeededIndex`` instead of integers, in the same order.

    Args:
        dataset: Any dataset, which learns to understand a ``SeededIndex``.
        args, kwargs: As in ``DefaultSampler``.
    """


@DATA_SAMPLERS.register_module()
class SeededRepeatAugSampler(SeededEpochs, RepeatAugSampler):
    """MMPretrain's ``RepeatAugSampler`` that yields ``SeededIndex`` instead of integers, in the same order.

    Each repetition of an image has a seed of its own, so each is augmented in another way.

    Args:
        dataset: Any dataset, which learns to understand a ``SeededIndex``.
        args, kwargs: As in ``RepeatAugSampler``.
    """
