"""Whole runs of two ranks are those of one process with the same total batch, also after a resume."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.runner import get_priority

from mmrobust.checkpoint import load_checkpoint_file
from mmrobust.engine import CheckpointHook, SyncBuffersHook
from mmrobust.randomness import derive_seed
from tests.test_distributed.tiny_runs import Result, accuracy, train
from tests.tiny_segmentation import REPO

FAR = 10_000


@pytest.fixture(scope='module')
def one(tmp_path_factory) -> Result:
    """Four iterations of four images on one process."""
    return train(str(tmp_path_factory.mktemp('one')), 4)


@pytest.fixture(scope='module')
def two(ranks, tmp_path_factory) -> list[Result]:
    """The same on two ranks."""
    return ranks.run(train, str(tmp_path_factory.mktemp('two')), 4)


def assert_same_weights(found: Result, expected: Result) -> None:
    for kind in ('weights', 'averaged'):
        values = getattr(expected, kind)
        assert any(np.any(value != 0) for value in values.values())
        for name, value in values.items():
            np.testing.assert_allclose(getattr(found, kind)[name], value, rtol=1e-7, atol=1e-10, err_msg=name)


def test_weights_and_their_average(one, two):
    """Nothing looks for unused parameters: with one, the second iteration would fail."""
    for found in two:
        assert_same_weights(found, one)
    for kind in ('weights', 'averaged'):
        first, second = (getattr(found, kind) for found in two)
        assert all(np.array_equal(first[name], second[name]) for name in first)
    name = 'backbone.blocks.0.attn.q.weight'
    assert not np.allclose(one.weights[name], one.averaged[name], rtol=1e-5)


def test_statistics_of_batch_norm_at_the_end_of_an_epoch(ranks):
    """Those of the weights and of their average, on both ranks, before the epoch is validated and saved."""
    for found in ranks.run(statistics_after_an_epoch):
        assert found == [[0.5, 1.5, 3], [10.5, 11.5, 3]]
    hooks = Config.fromfile(REPO / 'configs/fan_imagenet.py').custom_hooks
    (hook,) = [hook for hook in hooks if hook.type == 'mmrobust.SyncBuffersHook']
    assert get_priority(hook.get('priority', SyncBuffersHook.priority)) < get_priority(CheckpointHook.priority)


def statistics_after_an_epoch() -> list[list[float]]:
    rank, norms, hook = torch.distributed.get_rank(), [], EMAHook()
    for first in (0, 10):
        norms.append(norm := torch.nn.BatchNorm1d(1))
        norm.running_mean.fill_(first + rank)
        norm.running_var.fill_(first + 1 + rank)
        norm.num_batches_tracked.fill_(3)
    model, hook.ema_model = norms
    SyncBuffersHook().after_train_epoch(SimpleNamespace(model=model, hooks=[hook]))
    return [[buffer.item() for buffer in norm.buffers()] for norm in norms]


def test_metrics_without_the_sample_that_fills_up_the_last_batch(one, two):
    assert 0 < one.metrics['mIoU'] < 100
    assert two[0].metrics == one.metrics


def test_accuracy_without_the_sample_that_fills_up_the_last_batch(ranks):
    assert ranks.run(accuracy, 5)[0] == accuracy(5)
    assert accuracy(5) != accuracy(6)


@pytest.mark.parametrize('on_two_ranks', [False, True])
def test_accumulated_gradients(ranks, one, tmp_path, on_two_ranks):
    """Eight iterations of two images, two to an update, are four of four: the stream of images is the same."""
    arguments = (str(tmp_path), 8)
    options = {'total_batch': 2, 'accumulate': 2}
    found = ranks.run(train_with, arguments, options)[0] if on_two_ranks else train(*arguments, **options)
    for name, value in one.weights.items():
        np.testing.assert_allclose(found.weights[name], value, rtol=1e-7, atol=1e-10, err_msg=name)


def train_with(arguments: tuple, options: dict) -> Result:
    return train(*arguments, **options)


def test_resumed_on_another_number_of_ranks(ranks, one, tmp_path):
    """Iterations 1 and 2 on two ranks, 3 and 4 on one: the same images, the same weights to rounding."""
    first, second = ranks.run(train, str(tmp_path), 2)
    resumed = train(str(tmp_path), 4, resume=True)
    images = [a + b for a, b in zip(first.seeds, second.seeds, strict=True)] + resumed.seeds
    assert [sorted(seeds) for seeds in images] == [sorted(seeds) for seeds in one.seeds]
    assert_same_weights(resumed, one)


@pytest.fixture(scope='module')
def far_run(tmp_path_factory) -> str:
    """The folder of a run that claims to have come far."""
    folder = tmp_path_factory.mktemp('far')
    train(str(folder), 1, interval=1)
    checkpoint = load_checkpoint_file(str(folder / 'iter_1.pth'))
    checkpoint['meta']['iter'] = FAR
    torch.save(checkpoint, folder / f'iter_{FAR}.pth')
    (folder / 'last_checkpoint').write_text(str(folder / f'iter_{FAR}.pth'))
    return str(folder)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_resuming_loads_no_image_that_was_trained_on(far_run, num_workers):
    found = train(far_run, FAR + 3, resume=True, num_workers=num_workers, interval=10 * FAR)
    assert found.seeds == [[derive_seed(3, 4 * step + image) for image in range(4)] for step in range(FAR, FAR + 3)]
    prefetched = 4 * 2 * num_workers  # two batches a worker
    assert 3 * 4 <= found.loaded <= 3 * 4 + prefetched


def test_neither_on_two_ranks(ranks, far_run):
    arguments, options = (far_run, FAR + 3), {'resume': True, 'interval': 10 * FAR}
    for rank, found in enumerate(ranks.run(train_with, arguments, options)):
        assert found.loaded == 3 * 2
        assert found.seeds == [
            [derive_seed(3, 4 * step + 2 * image + rank) for image in range(2)] for step in range(FAR, FAR + 3)
        ]
