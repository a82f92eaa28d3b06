"""SIGTERM is granted when it suits, and loading processes go on until then."""

import multiprocessing
import os
import signal
import time

import pytest
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from mmrobust.sigterm import noted_sigterm, outlive_sigterm, stopped_by_sigterm


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
    monkeypatch.setattr('mmrobust.sigterm.GRACE', 0.5)
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
