"""A run of seconds with everything that is random in a real one; as a script, it is killed while it saves."""

import os
import random
import signal
import sys
import uuid

import numpy as np
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmrobust.datasets import SeededSampling


class Images(Dataset):
    """Ten 1 x 8 x 8 images under noise from every generator that augmentations use."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict:
        noise = random.random() + np.random.rand() + torch.rand(1, 8, 8)
        return {'inputs': index / 10 + noise, 'target': torch.tensor(float(index))}


class AugmentedImages(SeededSampling, Images):
    pass


class Net(BaseModel):
    """A convolution with dropout; from ``nan_from`` on, in iterations, the loss is NaN."""

    def __init__(self, nan_from: int = 10**9) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 1))
        self.nan_from, self.iteration = nan_from, 0

    def forward(self, inputs: Tensor, target: Tensor, mode: str = 'tensor') -> dict | Tensor:
        out = self.body(inputs).squeeze(1)
        if mode != 'loss':
            return out
        self.iteration += 1
        loss = (out - target).square().mean() / 100
        return {'loss_fit': loss * float('nan') if self.iteration >= self.nan_from else loss, 'loss_zero': 0 * loss}


class Record(Hook):
    """Keep the exact loss of every iteration: {iteration: loss}."""

    def __init__(self) -> None:
        self.losses = {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses[runner.iter] = outputs['loss'].item()


def make_runner(
    work_dir,
    *hooks,
    model=None,
    num_workers=0,
    iters=10,
    checkpoint=None,
    sampler='Infinite',
    accumulative_counts=1,
    logger=None,
    **kwargs,
) -> Runner:
    """Build a run that saves every 4 iterations and keeps one checkpoint."""
    checkpoint = {'type': 'mmrobust.CheckpointHook', 'by_epoch': False, 'interval': 4, 'max_keep_ckpts': 1} | (
        checkpoint or {}
    )
    kwargs = {
        'randomness': {'seed': 3},
        'log_level': 'WARNING',
        'train_cfg': {'by_epoch': False, 'max_iters': iters},
    } | kwargs
    torch.manual_seed(0)  # the initial weights
    return Runner(
        model=model or Net(),
        work_dir=str(work_dir),
        train_dataloader={
            'batch_size': 3,
            'num_workers': num_workers,
            'dataset': AugmentedImages(),
            'sampler': {'type': f'mmrobust.Seeded{sampler}Sampler'},
            'collate_fn': {'type': 'default_collate'},
        },
        optim_wrapper={
            'type': 'OptimWrapper',
            'optimizer': {'type': 'SGD', 'lr': 0.05, 'momentum': 0.9},
            'accumulative_counts': accumulative_counts,
        },
        default_hooks={'checkpoint': checkpoint, 'logger': logger},
        custom_hooks=[{'type': 'mmrobust.SeedIterationHook'}, {'type': 'mmrobust.StopOnNonFiniteLossHook'}, *hooks],
        default_scope='mmengine',
        experiment_name=uuid.uuid4().hex,
        **kwargs,
    )


def validation(metric: BaseMetric) -> dict:
    """Arguments of ``make_runner`` for a run that validates on all images."""
    return {
        'val_dataloader': {
            'batch_size': 5,
            'dataset': Images(),
            'sampler': {'type': 'DefaultSampler', 'shuffle': False},
            'collate_fn': {'type': 'default_collate'},
        },
        'val_cfg': {},
        'val_evaluator': Evaluator(metric),
    }


def kill_in_write(number: int) -> None:
    """Kill this process with SIGKILL when the content of the ``number``-th file is written but not yet in place."""
    calls = iter(range(1, number + 1))
    real_fsync = os.fsync
    os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL) if next(calls) == number else real_fsync(file)


if __name__ == '__main__':
    kill_in_write(3)  # checkpoint 4, last_checkpoint, checkpoint 8
    make_runner(sys.argv[1], num_workers=int(sys.argv[2])).train()
