"""What a model draws depends on seed, rank and iteration only. Skipped images are counted, and their files named."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement

from mmrobust.engine import CountSubstitutesHook, SeedIterationHook


def draw(seed: int, iteration: int) -> tuple:
    sampler = SimpleNamespace()
    runner = SimpleNamespace(seed=seed, iter=iteration, train_dataloader=SimpleNamespace(sampler=sampler))
    hook = SeedIterationHook()
    hook.before_train(runner)
    torch.rand(random.randrange(9))  # what happened before
    hook.before_train_iter(runner, 0)
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_same_iteration_same_numbers():
    assert draw(1, 5) == draw(1, 5)


@pytest.mark.parametrize('other', [(1, 6), (2, 5)])
def test_other_iteration_or_seed_other_numbers(other):
    assert all(a != b for a, b in zip(draw(1, 5), draw(*other), strict=True))


def test_rank_matters(monkeypatch):
    first = draw(1, 5)
    monkeypatch.setattr('mmrobust.engine.sampling_hooks.get_rank', lambda: 1)
    assert draw(1, 5) != first


def test_configured_seed_wins_and_reaches_the_sampler():
    given = []
    sampler = SimpleNamespace(reseed=given.append)
    runner = SimpleNamespace(seed=1, train_dataloader=SimpleNamespace(sampler=sampler))
    SeedIterationHook(seed=9).before_train(runner)
    SeedIterationHook().before_train(runner)
    assert given == [9, 1]


@pytest.mark.gpu
def test_gpu_is_seeded():
    def draw_gpu() -> float:
        draw(1, 5)
        return torch.rand(1, device='cuda').item()

    assert draw_gpu() == draw_gpu()


class FakeRunner:
    iter = 4

    def __init__(self) -> None:
        self.lines = []
        self.logger = self

    def warning(self, line: str) -> None:
        self.lines.append(line)


def samples(*problems: str | None) -> dict:
    return {'data_samples': [BaseDataElement(metainfo={'substitute_for': p} if p else {}) for p in problems]}


def test_count_and_names():
    hook, runner = CountSubstitutesHook(), FakeRunner()
    hook.before_train(runner)
    for batch in (samples(None, 'b.png is broken.'), samples('a.png is broken.', 'b.png is broken.'), [1, 2]):
        hook.after_train_iter(runner, 0, batch)
    runner.iter = 7
    hook.after_train(runner)
    assert runner.lines == [
        '3 samples of the iterations 5 to 7 were replaced, because of 2 broken files: a.png is broken. b.png is broken.'
    ]


def test_silence_without_any():
    hook, runner = CountSubstitutesHook(), FakeRunner()
    hook.before_train(runner)
    hook.after_train_iter(runner, 0, samples(None))
    hook.after_train(runner)
    assert runner.lines == []
