"""SIGTERM, which clusters send before they take a machine back: noted at once, obeyed at the next good moment."""

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from torch.utils.data import DataLoader

from mmrobust.processes import end_loaders_that_cannot_hand_over

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
