"""Seeds every iteration, so that dropout and drop path are the same after a resume."""

import random

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmrobust.randomness import derive_seed
from mmrobust.registry import HOOKS

__all__ = ['SeedIterationHook']


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
