"""Runs of MMEngine's runner with the tiny segmentor, on this rank or on this process alone."""

import uuid
from multiprocessing import Value
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import get_dist_info, is_distributed
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.evaluation import Accuracy
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmrobust.datasets import SeededIndex, SeededSampling
from tests.test_distributed.tiny_models import NUM_CLASSES, Case, build, sample

NUM_IMAGES = 7
# images loaded for training; not an attribute of the dataset, which the runner copies
loaded = Value('i', 0)


class Images(Dataset):
    metainfo = {'classes': tuple('abcde'), 'palette': [[index] * 3 for index in range(NUM_CLASSES)]}

    def __init__(self, length: int = NUM_IMAGES) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, SegDataSample]:
        return sample('segmentation', index)


class NoisyImages(Images):
    def __getitem__(self, index: int) -> tuple[Tensor, SegDataSample]:
        image, label = super().__getitem__(index)
        return image + 0.1 * torch.rand(3, 1, 1, dtype=torch.float64), label


class AugmentedImages(SeededSampling, NoisyImages):
    def __getitem__(self, index: SeededIndex) -> tuple[Tensor, SegDataSample]:
        with loaded.get_lock():
            loaded.value += 1
        image, label = super().__getitem__(index)
        label.set_metainfo({'seed': index.seed})
        return image, label


class Seen(Hook):
    """The seeds of the samples that were trained on, iteration by iteration."""

    def __init__(self) -> None:
        self.seeds: list[list[int]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.seeds.append([label.seed for label in data_batch['data_samples']])


class Result(NamedTuple):
    weights: dict[str, np.ndarray]
    averaged: dict[str, np.ndarray]  # by EMA
    metrics: dict[str, float]
    seeds: list[list[int]]
    loaded: int


def stack(samples: list[tuple[Tensor, SegDataSample]]) -> dict[str, Any]:
    images, labels = zip(*samples, strict=True)
    return {'inputs': torch.stack(images), 'data_samples': list(labels)}


def train(
    work_dir: str,
    iters: int,
    *,
    total_batch: int = 4,
    accumulate: int = 1,
    num_workers: int = 0,
    resume: bool = False,
    interval: int = 2,
) -> Result:
    """Train, evaluate once at the end, and save every ``interval`` iterations.

    Args:
        total_batch: images of an iteration, of all ranks together.
    """
    _, world_size = get_dist_info()
    seen = Seen()
    loaded.value = 0
    runner = Runner(
        model=build(Case()),
        work_dir=work_dir,
        train_dataloader={
            'batch_size': total_batch // world_size,
            'num_workers': num_workers,
            'dataset': AugmentedImages(),
            'sampler': {'type': 'mmrobust.SeededInfiniteSampler'},
            'collate_fn': stack,
        },
        val_dataloader={
            'batch_size': 2,
            'dataset': Images(5),  # so that two ranks need a sixth
            'sampler': {'type': 'DefaultSampler', 'shuffle': False},
            'collate_fn': stack,
        },
        val_evaluator={'type': 'IoUMetric', 'iou_metrics': ['mIoU']},
        val_cfg={},
        train_cfg={'by_epoch': False, 'max_iters': iters, 'val_interval': iters},
        optim_wrapper={
            'type': 'OptimWrapper',
            'optimizer': {'type': 'SGD', 'lr': 0.05, 'momentum': 0.9},
            'accumulative_counts': accumulate,
            'clip_grad': {'max_norm': 1.0},
        },
        default_hooks={
            'checkpoint': {
                'type': 'mmrobust.CheckpointHook',
                'by_epoch': False,
                'interval': interval,
                'save_last': False,
            },
            'logger': None,
        },
        custom_hooks=[
            {'type': 'mmrobust.SeedIterationHook'},
            {'type': 'mmrobust.StopOnNonFiniteLossHook'},
            {'type': 'EMAHook', 'momentum': 0.1},
            seen,
        ],
        resume=resume,
        launcher='pytorch' if is_distributed() else 'none',
        cfg={'model_wrapper_cfg': {'type': 'AnyDeviceDataParallel', 'broadcast_buffers': False}},
        randomness={'seed': 3},
        default_scope='mmseg',
        experiment_name=uuid.uuid4().hex,
        log_level='ERROR',
    )
    runner.train()
    runner.train_loop.dataloader_iterator._iterator = None  # ends the workers
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    averaged = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook').ema_model.module
    metrics = runner.message_hub.log_scalars
    return Result(
        weights=_arrays(model),
        averaged=_arrays(averaged),
        metrics={name: metrics[f'val/{name}'].current() for name in ('mIoU', 'aAcc')},
        seeds=seen.seeds,
        loaded=loaded.value,
    )


def _arrays(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.cpu().numpy() for name, value in model.state_dict().items()}


def accuracy(num_images: int) -> dict[str, float] | None:
    """Of made-up predictions, of which the first is right and some others are wrong; None on rank 1."""

    class Predictions(Dataset):
        def __len__(self) -> int:
            return num_images

        def __getitem__(self, index: int) -> DataSample:
            score = torch.zeros(NUM_CLASSES)
            score[index % NUM_CLASSES if index % 2 == 0 else 0] = 1
            return DataSample().set_gt_label(index % NUM_CLASSES).set_pred_score(score)

    data = Predictions()
    evaluator = Evaluator(Accuracy())
    for batch in DataLoader(data, 2, sampler=DefaultSampler(data, shuffle=False), collate_fn=list):
        evaluator.process(batch)
    return evaluator.evaluate(len(data))
