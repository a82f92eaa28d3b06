"""SIGTERM ends a run at a good moment, and resuming gives the run that nobody disturbed."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import find_latest_checkpoint
from tiny_run import Net, Record, make_runner, validation

from mmrobust.checkpoint import load_checkpoint_file
from mmrobust.engine import StopOnSigtermHook

STOP = {'type': 'mmrobust.StopOnSigtermHook'}
BY_EPOCH = {'sampler': 'Epoch', 'checkpoint': {'by_epoch': True, 'interval': 1}}  # 4 iterations of up to 3 images


class Send(Hook):
    """Send SIGTERM to this process, or with its children, at a moment such as ``before_train_iter`` of an iteration."""

    def __init__(self, moment: str, iteration: int, children: bool = False) -> None:
        def send(runner, *args, **kwargs) -> None:
            if runner.iter == iteration:
                for child in multiprocessing.active_children() if children else []:
                    os.kill(child.pid, signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)

        setattr(self, moment, send)


class Score(BaseMetric):
    """Number of images, and how often it was computed: the second validation is the best."""

    def process(self, data_batch, data_samples) -> None:
        self.results.append(len(data_samples))

    def compute_metrics(self, results: list) -> dict:
        return {'score': sum(results)}


class Validations(Hook):
    """When validations began and ended, in iterations."""

    def __init__(self) -> None:
        self.begun, self.ended = [], []

    def before_val(self, runner) -> None:
        self.begun.append(runner.iter)

    def after_val_epoch(self, runner, metrics=None) -> None:
        self.ended.append(runner.iter)


def validating(interval: int, **train_cfg) -> dict:
    return {
        'train_cfg': {'by_epoch': False, 'max_iters': 10, 'val_interval': interval} | train_cfg,
        **validation(Score()),
    }


def epochs(max_epochs: int) -> dict:
    return BY_EPOCH | {'train_cfg': {'by_epoch': True, 'max_epochs': max_epochs, 'val_interval': max_epochs + 1}}


def stop(work_dir, *hooks, **kwargs) -> None:
    runner = make_runner(work_dir, STOP, *hooks, **kwargs)
    with pytest.raises(SystemExit) as stopped:
        runner.train()
    assert stopped.value.code == 143
    end_loading(runner)


def end_loading(runner) -> None:
    """The garbage collector would wait 5 s for each loading process."""
    if hasattr(runner.train_loop, 'dataloader_iterator'):
        runner.train_loop.dataloader_iterator._iterator = None


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob('*.pth*'))


def weights(folder: Path) -> dict:
    return load_checkpoint_file(find_latest_checkpoint(str(folder)))['state_dict']


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory) -> tuple[dict[int, float], dict]:
    folder, record = tmp_path_factory.mktemp('undisturbed'), Record()
    make_runner(folder, record).train()
    return record.losses, weights(folder)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_stopped_in_an_iteration_and_resumed(tmp_path, undisturbed, num_workers, capfd):
    """The signal comes while a batch is used, or to the loading processes as well."""
    first, second = Record(), Record()
    stop(tmp_path, first, Send('before_train_iter', 5, children=num_workers > 0), num_workers=num_workers)
    assert list(first.losses) == [0, 1, 2, 3, 4, 5]
    assert files(tmp_path) == ['iter_4.pth', 'stopped.pth']
    line = [line for line in capfd.readouterr().out.splitlines() if 'SIGTERM' in line]
    assert len(line) == 1 and 'Stopped by SIGTERM after iteration 6, and saved: --resume continues.' in line[0]

    runner = make_runner(tmp_path, second, STOP, num_workers=num_workers, resume=True)
    runner.train()
    end_loading(runner)
    assert first.losses | second.losses == undisturbed[0] and list(second.losses) == [6, 7, 8, 9]
    assert same(weights(tmp_path), undisturbed[1])
    assert files(tmp_path) == ['iter_10.pth']


def test_no_second_checkpoint_of_an_iteration(tmp_path):
    stop(tmp_path, Send('before_train_iter', 3))
    assert files(tmp_path) == ['iter_4.pth']


def test_gradients_that_add_up_are_used_first(tmp_path):
    whole, first, second = Record(), Record(), Record()
    adding = {'accumulative_counts': 4, 'iters': 12, 'checkpoint': {'interval': 100}}
    make_runner(tmp_path / 'whole', whole, **adding).train()
    stop(tmp_path, first, Send('before_train_iter', 4), **adding)
    assert list(first.losses)[-1] == 7
    make_runner(tmp_path, second, resume=True, **adding).train()
    assert first.losses | second.losses == whole.losses


@pytest.mark.parametrize('by_epoch', [False, True])
def test_stopped_in_a_validation_within_an_optimizer_step(tmp_path, by_epoch):
    """It goes on until the gradients are used."""
    whole, first, second = Record(), Record(), Record()
    interval, counts = (4, 3) if by_epoch else (3, 2)
    run = validating(interval) | {'accumulative_counts': counts}
    if by_epoch:
        run |= BY_EPOCH | {'train_cfg': {'by_epoch': True, 'max_epochs': 3}}
    make_runner(tmp_path / 'whole', whole, **run).train()
    stop(tmp_path / 'part', first, Send('before_val_iter', interval), **run)
    assert list(first.losses)[-1] == (5 if by_epoch else 3)
    make_runner(tmp_path / 'part', second, resume=True, **run).train()
    assert first.losses | second.losses == whole.losses
    assert same(weights(tmp_path / 'part'), weights(tmp_path / 'whole'))


@pytest.mark.parametrize('iteration', [5, 7], ids=['within an epoch', 'at its last batch'])
@pytest.mark.parametrize('num_workers', [0, 2])
def test_stopped_in_an_epoch_and_resumed(tmp_path, iteration, num_workers):
    whole, first, second = Record(), Record(), Record()
    make_runner(tmp_path / 'whole', whole, **epochs(3)).train()
    stop(tmp_path / 'part', first, Send('before_train_iter', iteration), num_workers=num_workers, **epochs(3))
    assert list(first.losses)[-1] == iteration
    assert files(tmp_path / 'part') == ['epoch_1.pth', 'stopped.pth']
    make_runner(tmp_path / 'part', second, num_workers=num_workers, resume=True, **epochs(3)).train()
    assert first.losses | second.losses == whole.losses
    assert list(second.losses) == list(range(iteration + 1, 12))
    assert same(weights(tmp_path / 'part'), weights(tmp_path / 'whole'))


def test_another_sampler_begins_its_epoch_again(tmp_path, capfd):
    runner = make_runner(tmp_path, STOP, Send('before_train_iter', 5), **epochs(3))
    runner._train_dataloader['sampler'] = {'type': 'DefaultSampler', 'shuffle': False}
    with pytest.raises(SystemExit):
        runner.train()
    assert files(tmp_path) == ['epoch_1.pth']
    assert 'cannot be saved in the middle of an epoch with this sampler' in capfd.readouterr().out


@pytest.mark.parametrize(('interval', 'ended'), [(4, []), (5, [5])], ids=['checkpoint before it', 'none before it'])
def test_stopped_in_a_validation_and_resumed(tmp_path, undisturbed, interval, ended):
    """Where the weights are safe it stops at once; otherwise after the validation, and with a checkpoint."""
    validations, again, second = Validations(), Validations(), Record()
    stop(tmp_path, validations, Send('before_val_iter', interval), **validating(interval))
    assert validations.begun == [interval] and validations.ended == ended
    assert load_checkpoint_file(find_latest_checkpoint(str(tmp_path)))['meta']['iter'] == interval

    make_runner(tmp_path, second, again, resume=True, **validating(interval)).train()
    assert sorted({*validations.ended, *again.ended}) == [*range(interval, 10, interval), 10]
    assert len(validations.ended) + len(again.ended) == len({*validations.ended, *again.ended}), 'none twice'
    assert second.losses == {step: loss for step, loss in undisturbed[0].items() if step >= interval}
    assert same(weights(tmp_path), undisturbed[1])


@pytest.mark.parametrize('end', ['reached', 'an error', 'an error before the first iteration'])
def test_the_handler_before_comes_back(tmp_path, end):
    before = signal.getsignal(signal.SIGTERM)
    if end == 'reached':
        make_runner(tmp_path, STOP, iters=1).train()
    elif end == 'an error':
        with pytest.raises(FloatingPointError):
            make_runner(tmp_path, STOP, model=Net(nan_from=2)).train()
    else:
        (tmp_path / 'broken.pth').write_bytes(b'PK')
        with pytest.raises(ValueError, match='broken'):
            make_runner(tmp_path, STOP, resume=True, load_from=str(tmp_path / 'broken.pth')).train()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize('in_thread', [False, True])
def test_where_it_cannot_help_it_says_so(tmp_path, in_thread):
    before = signal.getsignal(signal.SIGTERM)
    runner = make_runner(tmp_path, STOP, iters=1, checkpoint=None if in_thread else {'type': 'CheckpointHook'})
    if in_thread:
        thread = threading.Thread(target=runner.train)
        thread.start()
        thread.join()
    else:
        runner.train()
    assert (tmp_path / 'iter_1.pth').exists()
    assert signal.getsignal(signal.SIGTERM) == before
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count('SIGTERM will lose what comes after the last checkpoint') == 1


def _one_of_two_ranks(rank: int, file: str, queue) -> None:
    torch.distributed.init_process_group('gloo', init_method=f'file://{file}', rank=rank, world_size=2)
    hook = StopOnSigtermHook()
    hook.received = rank == 1
    queue.put(hook._agreed())


def test_one_rank_stops_all(tmp_path):
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    ranks = [context.Process(target=_one_of_two_ranks, args=(rank, str(tmp_path / 'x'), queue)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    assert [queue.get(timeout=60) for _ in ranks] == [True, True]
    for process in ranks:
        process.join(timeout=60)


def test_a_test_builds_no_training(tmp_path):
    """Its data may not be there, and a config to test may have none."""
    runner = make_runner(tmp_path, StopOnSigtermHook())
    for loop in (runner._train_loop, None):
        assert not hasattr(loop, 'run')
        runner._train_loop = loop
        runner.call_hook('before_run')
        assert runner._train_loop is loop
