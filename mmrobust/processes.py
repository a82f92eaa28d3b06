"""How processes end: at a good moment after SIGTERM, which clusters send before they take a machine back; when their
parent is lost; when they cannot hand over a batch.
"""

import errno
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from pathlib import Path
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader, get_worker_info

NO_SHARED_MEMORY = 128 + errno.ENOSPC  # exit code of a loading process


def end_with_parent() -> None:
    """In a process of a pool: end when the parent does, even by SIGKILL; otherwise it waits for work for ever."""
    threading.Thread(target=_wait_for_its_end, daemon=True).start()


def end_loaders_that_cannot_hand_over() -> None:
    """Let a loading process end that cannot give its batch to its parent, as where /dev/shm is full.

    By itself Python prints a traceback, and both wait for ever. Other processes are not concerned.
    """
    Queue._on_queue_feeder_error = staticmethod(_cannot_hand_over)


def _cannot_hand_over(error: Exception, batch: Any) -> None:
    full = 'shared memory' in str(error) or getattr(error, 'errno', 0) == errno.ENOSPC
    if get_worker_info() is None or not full:
        traceback.print_exception(error)
    if get_worker_info() is not None:
        os._exit(NO_SHARED_MEMORY if full else 1)


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine; where that cannot be asked, True."""
    try:
        if os.name == 'posix':
            os.kill(pid, 0)
        # one that is dead keeps its number until its parent asks, which in a container may be never
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except ProcessLookupError:
        return False
    except OSError:  # of somebody else; no Linux
        return True


def _wait_for_its_end() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


EXIT_CODE = 128 + signal.SIGTERM  # 143, as a shell reports a process that SIGTERM has ended
GRACE = 1  # second: torchrun passes on what the whole group of processes has received already


@contextmanager
def noted_sigterm() -> Iterator[list[float]]:
    """Give a list that grows with each SIGTERM, in the main thread; one after the time of grace ends the process."""
    received: list[float] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(time.monotonic())
        if received[-1] - received[0] > GRACE:  # the good moment does not come: something hangs
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, note) or signal.SIG_DFL
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def stopped_by_sigterm(advice: str) -> Iterator[Callable[[], None]]:
    """Give a function to call at every moment that is good for leaving: after a SIGTERM it does so. A second one ends
    the process at once.

    A signal handler must not raise by itself: in the wrong place Python prints the exception and forgets it.

    Args:
        advice: follows after "stopped by SIGTERM: " in the one line on stderr.

    Raises:
        SystemExit: with code 143, from that function.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # only the main thread is told of signals
        return
    with noted_sigterm() as received:

        def leave_if_told() -> None:
            if received:
                raise SystemExit(EXIT_CODE)

        try:
            yield leave_if_told
        except SystemExit:
            if received:
                print(f'{Path(sys.argv[0]).name}: stopped by SIGTERM: {advice}', file=sys.stderr)
            raise


def outlive_sigterm(loader: DataLoader) -> None:
    """Let the processes of a loader that has not started yet obey no SIGTERM but that of their parent.

    One that is meant for the whole job reaches them too, but its last iteration still needs images. Without this
    PyTorch ends them at once, and the parent fails. If the parent dies, PyTorch ends them within seconds.
    """
    if loader.num_workers and hasattr(signal, 'sigwaitinfo'):  # macOS has none
        loader.worker_init_fn = functools.partial(_init_worker, loader.worker_init_fn)
        loader._get_iterator = functools.partial(_start_blocked, loader._get_iterator)


def _start_blocked(start: Callable[[], Iterator]) -> Iterator:
    """Start processes while SIGTERM is blocked, which they inherit: in their first moments it would end them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        return start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _init_worker(then: Callable[[int], None] | None, worker: int) -> None:
    end_loaders_that_cannot_hand_over()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey_parent, daemon=True).start()  # a handler would not learn who sent it
    if then is not None:
        then(worker)


def _obey_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)  # as in PyTorch's own handler
