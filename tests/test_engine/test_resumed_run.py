"""A run goes on with the config as it is now, and says what has changed; what cannot go on is refused."""

from pathlib import Path

import pytest
from mmengine.hooks import Hook
from tiny_run import make_runner

EMA = {'type': 'EMAHook', 'momentum': 0.1}
POLY = {'type': 'PolyLR', 'power': 1.0, 'eta_min': 0.0}
COSINE = {'type': 'CosineAnnealingLR', 'eta_min': 0.001}
SGD = {'type': 'SGD', 'lr': 0.05, 'momentum': 0.9}


class Rates(Hook):
    """The learning rate of every iteration: {iteration: rate}."""

    def __init__(self) -> None:
        self.rates = {}

    def before_train_iter(self, runner, **kwargs) -> None:
        self.rates[runner.iter] = runner.optim_wrapper.param_groups[0]['lr']


def train(folder, iters: int, *hooks, schedule=None, optimizer=None, batch_size=3, resume=False, **kwargs) -> dict:
    """Train with a warm-up of 2 iterations before ``schedule``, which ends with the run; return the rates."""
    rates = Rates()
    by_epoch = kwargs.get('sampler') == 'Epoch'
    warmup = {'type': 'LinearLR', 'start_factor': 0.1, 'by_epoch': False, 'end': 2}
    schedule = {'by_epoch': False, 'begin': 2, 'end': iters, **schedule} if schedule else None
    runner = make_runner(
        folder, rates, *hooks, iters=iters, param_scheduler=schedule and [warmup, schedule], resume=resume, **kwargs
    )
    runner._train_dataloader['batch_size'] = batch_size
    runner.optim_wrapper['optimizer'] = optimizer or SGD
    assert by_epoch or runner.max_iters == iters
    runner.train()
    return rates.rates


def log(folder: Path) -> str:
    return '\n'.join(path.read_text() for path in folder.glob('*/*.log'))


@pytest.mark.parametrize(
    'schedule',
    [
        POLY,
        COSINE,
        {'type': 'LinearLR', 'start_factor': 1.0, 'end_factor': 0.2},
        {'type': 'OneCycleLR', 'eta_max': 0.1, 'total_steps': 20},
    ],
)
def test_a_longer_schedule_of_the_config_wins_and_is_named(tmp_path, schedule):
    whole = train(tmp_path / 'whole', 8, schedule=schedule)
    train(tmp_path / 'part', 4, schedule=schedule)
    resumed = train(tmp_path / 'part', 8, schedule=schedule, resume=True)
    assert resumed == {step: whole[step] for step in (4, 5, 6, 7)} and len(set(resumed.values())) == 4
    assert 'param_scheduler[1].end=8 (was 4)' in log(tmp_path / 'part')


def test_the_same_config_says_nothing(tmp_path):
    train(tmp_path, 8, schedule=POLY)
    train(tmp_path, 8, schedule=POLY, resume=True)
    assert 'wins' not in log(tmp_path)


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'schedule': COSINE}, r'param_scheduler[1] is another kind'),
        ({'schedule': None}, r'0 param_scheduler (was 2)'),
        ({'optimizer': SGD | {'lr': 0.01}}, 'optimizer group 0 initial_lr=0.01 (was 0.05)'),
        ({'optimizer': SGD | {'weight_decay': 0.1}}, 'optimizer group 0 weight_decay=0.1 (was 0)'),
        ({'batch_size': 2}, 'images per iteration=2 (was 3)'),
        ({'accumulative_counts': 2}, 'accumulative_counts=2 (was 1)'),
    ],
)
def test_what_else_has_changed_holds_and_is_named(tmp_path, change, named):
    before = {'schedule': {**POLY, 'end': 8}}
    train(tmp_path / 'part', 4, **before)
    resumed = train(tmp_path / 'part', 8, resume=True, **before | change)
    assert named in log(tmp_path / 'part')
    whole = train(tmp_path / 'whole', 8, **before | change)
    assert resumed == {step: whole[step] for step in (4, 5, 6, 7)}


def test_a_schedule_by_epochs_is_brought_to_its_place(tmp_path):
    epochs = {'sampler': 'Epoch', 'checkpoint': {'by_epoch': True, 'interval': 1}}
    by_epoch = {**COSINE, 'by_epoch': True, 'begin': 0}

    def run(folder, epochs_of_run, **kwargs):
        length = {'train_cfg': {'by_epoch': True, 'max_epochs': epochs_of_run}}
        return train(tmp_path / folder, 0, schedule={**by_epoch, 'end': epochs_of_run}, **epochs, **length, **kwargs)

    whole = run('whole', 4)
    run('part', 2)
    assert run('part', 4, resume=True) == {step: whole[step] for step in range(8, 16)}
    # batches of 5 images: 2 iterations in place of 4 are an epoch
    run('other', 2)
    assert run('other', 4, resume=True, batch_size=5) == {step: whole[2 * step] for step in range(4, 8)}
    assert 'images per iteration=5 (was 3); iterations per epoch=2 (was 4); param_sch' in log(tmp_path / 'other')


@pytest.mark.parametrize('epoch', [0, 1])
def test_within_an_epoch_it_must_be_the_same_epoch(tmp_path, epoch):
    epochs = {'sampler': 'Epoch', 'train_cfg': {'by_epoch': True, 'max_epochs': 2}}
    train(tmp_path, 0, checkpoint={'by_epoch': False, 'interval': 4 * epoch + 2, 'save_last': False}, **epochs)
    with pytest.raises(ValueError, match=r'An epoch must have \d iterations of 3 images, .* got 2 of 5'):
        train(tmp_path, 0, resume=True, batch_size=5, **epochs)


@pytest.mark.parametrize(
    ('before', 'after', 'message'),
    [
        ({'hooks': [EMA]}, {}, 'must have an EMAHook'),
        ({}, {'optimizer': {'type': 'Adam', 'lr': 0.05}}, 'of the kind in the checkpoint, got Adam: .* betas'),
        ({}, {'accumulative_counts': 3}, 'accumulative_counts must divide the iteration of the checkpoint, 4, got 3'),
        ({'checkpoint': {'save_optimizer': False}}, {}, 'must hold message_hub, optimizer, got one without optimizer'),
        ({}, {'schedule': POLY}, 'without param_schedulers'),
    ],
)
def test_what_cannot_go_on_is_refused(tmp_path, before, after, message):
    saving = {'save_param_scheduler': False} if after.get('schedule') else {}
    train(tmp_path, 4, *before.get('hooks', ()), checkpoint=saving | before.get('checkpoint', {}))
    with pytest.raises(ValueError, match=message):
        train(tmp_path, 8, resume=True, **after)


def test_a_schedule_that_depends_on_metrics_cannot_be_brought_anywhere(tmp_path):
    plateau = {'type': 'ReduceOnPlateauLR', 'monitor': 'score', 'by_epoch': True, 'end': 8}
    train(tmp_path, 4, schedule=plateau)
    train(tmp_path, 6, schedule=plateau, resume=True)
    with pytest.raises(ValueError, match='A schedule that depends on metrics must be as in the checkpoint'):
        train(tmp_path, 8, schedule=plateau | {'patience': 1}, resume=True)


def test_averaging_may_begin_in_the_middle(tmp_path):
    train(tmp_path, 4)
    train(tmp_path, 8, EMA, resume=True)
    assert 'and wins: EMAHook is new, and begins with the weights of the checkpoint' in log(tmp_path)


@pytest.mark.parametrize('resume', [False, True])
def test_a_run_longer_than_its_schedule_to_zero_is_refused(tmp_path, resume):
    if resume:
        train(tmp_path, 4, schedule=POLY)
    with pytest.raises(ValueError, match=r'got `end=4` of the last param_scheduler and max_iters=8: raise `end` too'):
        train(tmp_path, 8, schedule={**POLY, 'end': 4}, resume=resume)
    train(tmp_path / 'other', 8, schedule={**COSINE, 'end': 4})  # goes on at eta_min
