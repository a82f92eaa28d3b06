"""Pools end with the process that has started them, and leave nothing that stays."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from mmrobust.processes import is_alive, noted_sigterm, outlive_sigterm, stopped_by_sigterm
from tests.tool_loading import TOOLS

REPO = TOOLS.parent


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'it has not happened'
        time.sleep(0.01)


@pytest.mark.skipif(not Path('/proc/self/task').exists(), reason='needs /proc')
@pytest.mark.parametrize('stop', [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_workers_of_minicity_end_with_their_parent(tmp_path, stop):
    out = tmp_path / 'minicity'
    command = [sys.executable, str(TOOLS / 'dataset_converters/minicity.py'), '--out', str(out), '--num-acdc', '0']
    command += ['--size', '256', '128', '--num-val', '1', '--num-train']
    process = subprocess.Popen([*command, '4000'], cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: process.poll() is not None or list(out.rglob('*_color.png')))
    workers = children(process.pid)
    assert workers
    process.send_signal(stop)
    assert process.wait(10) == -stop
    wait_until(lambda: not any(is_alive(worker) for worker in workers), 10)
    assert [path.name for path in out.iterdir()] == ['.partial']
    assert subprocess.run([*command, '1'], cwd=REPO, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert sorted(path.name for path in out.iterdir()) == ['gtFine', 'leftImg8bit', 'minicity.json']
    assert len(list(out.rglob('*_leftImg8bit.png'))) == 2


class Refuses:
    """A sample that cannot be handed over."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __reduce__(self):
        raise self.error


@pytest.mark.parametrize(
    ('error', 'code', 'printed'),
    [
        (
            RuntimeError('unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)'),
            156,
            '',
        ),
        (OSError(28, 'No space left on device'), 156, ''),
        (TypeError('cannot pickle this'), 1, 'TypeError: cannot pickle this'),
    ],
)
def test_a_loading_process_that_cannot_hand_over_ends(error, code, printed, capfd, monkeypatch):
    monkeypatch.setattr(signal_handling, '_SIGCHLD_handler_set', False)  # an error of a tool has removed it
    loader = DataLoader([Refuses(error)], num_workers=1, collate_fn=list)
    outlive_sigterm(loader)
    with pytest.raises(RuntimeError) as died:
        next(iter(loader))
    assert f'exited unexpectedly with exit code {code}' in f'{died.value} {died.value.__cause__}'
    assert printed in capfd.readouterr().err


def test_other_queues_only_print(capfd):
    queue = multiprocessing.Queue()
    queue.put(Refuses(TypeError('cannot pickle this')))
    queue.put(1)
    assert queue.get(timeout=30) == 1
    assert 'TypeError: cannot pickle this' in capfd.readouterr().err


def test_alive():
    dead = subprocess.Popen(['true'])
    wait_until(lambda: not is_alive(dead.pid))  # it is a zombie
    dead.wait()
    assert is_alive(os.getpid()) and is_alive(1) and not is_alive(dead.pid)


def test_it_leaves_at_the_next_good_moment(capsys):
    before = signal.getsignal(signal.SIGTERM)
    done = []
    with pytest.raises(SystemExit) as stopped, stopped_by_sigterm('start again.') as leave_if_told:
        for step in range(3):
            if step == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            done.append(step)
            leave_if_told()
    assert stopped.value.code == 143 and done == [0, 1]
    assert capsys.readouterr().err.endswith(': stopped by SIGTERM: start again.\n')
    assert signal.getsignal(signal.SIGTERM) == before


def test_other_exits_stay_what_they_are(capsys):
    with pytest.raises(SystemExit) as stopped, stopped_by_sigterm('start again.'):
        raise SystemExit(2)
    assert stopped.value.code == 2 and capsys.readouterr().err == ''


def _hangs(ready) -> None:
    with noted_sigterm():
        ready.put(True)
        while True:
            time.sleep(0.1)


def test_a_second_one_ends_what_hangs(monkeypatch):
    monkeypatch.setattr('mmrobust.processes.GRACE', 0.5)
    context = multiprocessing.get_context('fork')
    ready = context.SimpleQueue()
    process = context.Process(target=_hangs, args=(ready,), daemon=True)
    process.start()
    ready.get()
    for _ in range(2):  # of the group, and passed on by torchrun
        process.terminate()
        process.join(0.3)
        assert process.is_alive()
    time.sleep(0.5)
    process.terminate()
    process.join(10)
    assert process.exitcode == -signal.SIGTERM


class Slow(Dataset):
    """The ids of the processes that loaded."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        time.sleep(0.02)
        return os.getpid()


def test_loading_processes_obey_their_parent_alone():
    begun = []
    loader = DataLoader(Slow(), batch_size=1, num_workers=2, worker_init_fn=begun.append)
    outlive_sigterm(loader)
    batches = iter(loader)
    workers = {int(next(batches)) for _ in range(2)}
    for worker in workers:
        # from somebody else, as a cluster does it; this process is their parent
        if not os.fork():
            os.kill(worker, signal.SIGTERM)
            os._exit(0)
        os.wait()
    assert {int(batch) for batch in batches} == workers
    assert begun == []  # it is called in the processes, not here

    batches = iter(loader)
    next(batches)
    process = batches._workers[0]
    process.terminate()
    process.join(5)
    assert process.exitcode == 0


def test_loading_processes_outlive_it_from_their_first_moment(monkeypatch):
    """It comes right after PyTorch has set its handlers, before anything of ours runs there."""
    set_handlers = signal_handling._set_worker_signal_handlers

    def set_and_be_told():
        set_handlers()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(signal_handling, '_set_worker_signal_handlers', set_and_be_told)
    loader = DataLoader(range(6), num_workers=2)
    outlive_sigterm(loader)
    assert [int(batch) for batch in loader] == [*range(6)]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_no_processes_need_nothing():
    loader = DataLoader(Slow())
    outlive_sigterm(loader)
    assert loader.worker_init_fn is None
