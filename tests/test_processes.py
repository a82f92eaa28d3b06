"""Pools end with the process that has started them, and leave nothing that stays."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from mmrobust.processes import is_alive
from mmrobust.sigterm import outlive_sigterm
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
