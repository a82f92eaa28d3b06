"""Sampling and augmentations that depend only on the run's seed and the position in the stream of samples.

MMEngine seeds a worker once, when it starts: what a sample looks like then depends on the number of workers and on all
samples before it, and a resumed run sees other images than the undisturbed one.
"""

import functools
import logging
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.logging import print_log
from mmpretrain.datasets import RepeatAugSampler
from torch.utils.data import Dataset

from mmrobust.datasets.transforms.loading import BrokenImageError
from mmrobust.randomness import derive_seed, seeded
from mmrobust.registry import DATA_SAMPLERS

MAX_SUBSTITUTES = 9  # more broken files in a row mean a broken folder


class SeededIndex(NamedTuple):
    """Which sample, and the seed of everything random that is done to it."""

    index: int
    seed: int


class SeededSampling:
    """Dataset mix-in, left of the dataset class: a ``SeededIndex`` seeds all that ``__getitem__`` draws.

    A plain integer does what it does without the mix-in. The caller's random states are not touched, so without worker
    processes the model's own randomness does not depend on the augmentations. The samplers of this project give the
    mix-in to datasets that do not have it, see :func:`take_seeds`.

    Args:
        args, kwargs: As in the dataset class.
        on_corrupt: What a broken image or label does in training: ``'raise'``, or ``'skip'``, which logs its name and
            takes another sample, chosen by the ``SeededIndex`` alone. ``data_samples`` then has the metainfo
            ``substitute_for``, the sentence about the broken file. A plain integer, as evaluating uses it, always
            raises.

    Raises:
        ValueError: ``on_corrupt`` is something else; 10 samples in a row are broken.
    """

    on_corrupt = 'raise'

    def __init__(self, *args, on_corrupt: str = 'raise', **kwargs) -> None:
        if on_corrupt not in ('raise', 'skip'):
            raise ValueError(f"on_corrupt must be 'raise' or 'skip', got {on_corrupt!r}")
        self.on_corrupt = on_corrupt
        super().__init__(*args, **kwargs)

    def __getitem__(self, idx: int | SeededIndex) -> Any:
        return _seeded_sample(self, super().__getitem__, idx)


def _seeded_sample(dataset: SeededSampling, get: Callable[[int], Any], idx: int | SeededIndex) -> Any:
    if not isinstance(idx, SeededIndex):
        return get(idx)
    index, problem = idx.index, None
    for attempt in range(MAX_SUBSTITUTES + 1):
        try:
            with seeded(idx.seed):
                sample = get(index)
            break
        except BrokenImageError as error:
            if dataset.on_corrupt == 'raise' or attempt == MAX_SUBSTITUTES:
                raise
            problem = str(error)
            # as an error, because only errors are shown of all ranks
            print_log(f'{problem} Another one takes its place.', logger='current', level=logging.ERROR)
            index = derive_seed(idx.seed, 'substitute', attempt) % len(dataset)
    if problem and 'data_samples' in sample:
        sample['data_samples'].set_metainfo({'substitute_for': problem})
    return sample


def take_seeds(dataset: Dataset) -> None:
    """Give a dataset the mix-in, in place, because its loader holds it already: it then understands a ``SeededIndex``.

    A wrapper, such as ``ConcatDataset``, skips broken files if all that it wraps do.

    Raises:
        TypeError: It has no class that could be changed, such as a list.
    """
    kind = type(dataset)
    if issubclass(kind, SeededSampling):
        return

    def getitem(self: Dataset, idx: int | SeededIndex) -> Any:
        return _seeded_sample(self, functools.partial(kind.__getitem__, self), idx)

    def reduce(self: Dataset, protocol: int) -> tuple:
        plain = kind.__new__(kind)  # processes that are spawned do not know the new class
        plain.__dict__.update(self.__dict__)
        return _with_seeds, (plain,)

    wrapped = [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())]
    skips = {getattr(one, 'on_corrupt', 'raise') for one in wrapped if one is not None} == {'skip'}
    own = {'on_corrupt': 'skip' if skips else 'raise', '__getitem__': getitem, '__reduce_ex__': reduce}
    try:  # of these bases the first decides whether an object may change its class
        dataset.__class__ = type(kind.__name__, (kind, SeededSampling), own)
    except TypeError as error:
        raise TypeError(f'dataset must be a torch.utils.data.Dataset, got {kind.__name__}') from error


def _with_seeds(dataset: Dataset) -> Dataset:
    take_seeds(dataset)
    return dataset


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """MMEngine's ``InfiniteSampler`` that yields ``SeededIndex`` instead of integers, in the same order.

    The stream is counted over all ranks (rank r of w sees the positions r, r + w, r + 2w, ...) and never restarts.

    Args:
        dataset: Any dataset, which learns to understand a ``SeededIndex``.
        shuffle: Whether every pass over the dataset is a new permutation.
        seed: Seed of permutations and augmentations, the same on every rank; None draws one.

    Raises:
        TypeError: It is no dataset, such as a list.
    """

    def __init__(self, dataset: Dataset, shuffle: bool = True, seed: int | None = None) -> None:
        take_seeds(dataset)
        super().__init__(dataset, shuffle, seed)
        self.started = False

    def _indices_of_rank(self, skipped: int = 0) -> Iterator[SeededIndex]:
        self.started = True
        stream = enumerate(self._infinite_indices())
        for position, index in islice(stream, self.rank + skipped * self.world_size, None, self.world_size):
            yield SeededIndex(index, derive_seed(self.seed, position))

    def skip(self, num_samples: int) -> None:
        """Continue after the first ``num_samples`` samples of this rank; official MMEngine 0.10.7 has no such method.

        Raises:
            ValueError: ``num_samples`` is negative.
        """
        if num_samples < 0:
            raise ValueError(f'The number of samples to skip must be 0 or more, but got {num_samples}.')
        self.indices = self._indices_of_rank(num_samples)

    def reseed(self, seed: int) -> None:
        """Take the seed of the run that is resumed, which MMEngine learns only after it has built the sampler.

        Raises:
            RuntimeError: Samples have been drawn with another seed (official MMEngine 0.10.7 prefetches early).
        """
        if self.started and seed != self.seed:
            raise RuntimeError(
                f'The data stream has started with seed {self.seed}, but the run that is resumed has seed {seed}: '
                f'set randomness=dict(seed={seed}) in the configuration.'
            )
        self.seed = seed


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
