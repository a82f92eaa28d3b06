"""Hooks beside ``datasets/seeded_sampling.py``: seeds of iterations, and how many samples were replaced."""

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, broadcast_object_list, get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmrobust.randomness import derive_seed
from mmrobust.registry import HOOKS


@HOOKS.register_module()
class SeedIterationHook(Hook):
    """Seed ``random``, numpy and torch, CPU and GPU, from (seed, rank, iteration) before every training iteration.

    A checkpoint holds no generator states, so a resumed run would draw other dropout masks. Together with
    ``SeededInfiniteSampler``, to which this hook gives the seed of the run that is resumed, a run that was killed and
    resumed has exactly the losses of an undisturbed one.

    Args:
        seed: Seed to use instead of the run's, which is ``randomness['seed']`` or what MMEngine has drawn and stored
            in the checkpoint.
    """

    priority = 'HIGHEST'

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed

    def before_train(self, runner: Runner) -> None:
        """Agree on the seed of rank 0, the one that is stored: ``diff_rank_seed`` gives each rank another."""
        if self.seed is None:
            seeds = [runner.seed]
            broadcast_object_list(seeds)
            self.seed = seeds[0]
        sampler = runner.train_dataloader.sampler
        if hasattr(sampler, 'reseed'):
            sampler.reseed(self.seed)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None) -> None:
        seed = derive_seed(self.seed, get_rank(), runner.iter)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # numpy takes 32 bits
        torch.manual_seed(seed)


@HOOKS.register_module()
class CountSubstitutesHook(Hook):
    """At the end say how many samples ``on_corrupt='skip'`` of the dataset has replaced, and name the broken files."""

    def __init__(self) -> None:
        self.replaced: list[str] = []

    def before_train(self, runner: Runner) -> None:
        self.first = runner.iter

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        self.replaced += [
            sample.substitute_for for sample in samples or () if getattr(sample, 'substitute_for', None) is not None
        ]

    def after_train(self, runner: Runner) -> None:
        replaced = [problem for one in all_gather_object(self.replaced) for problem in one]
        if replaced:
            runner.logger.warning(
                f'{len(replaced)} samples of the iterations {self.first + 1} to {runner.iter} were replaced, because '
                f'of {len(set(replaced))} broken files: {" ".join(sorted(set(replaced)))}'
            )
