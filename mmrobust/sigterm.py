"""SIGTERM, with which clusters take a machine back: noted when it comes, granted when it suits."""

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.utils.data import DataLoader

__all__ = ['EXIT_CODE', 'outlive_sigterm', 'stopped_by_sigterm']

EXIT_CODE = 128 + signal.SIGTERM  # 143, what a shell says of a process that SIGTERM has ended


@contextmanager
def stopped_by_sigterm(advice: str) -> Iterator[Callable[[], None]]:
    """Give a function to call at every moment that is good for leaving: after a SIGTERM it does so.

    A signal handler must not raise by itself: in the wrong place Python prints the exception and forgets it.

    Args:
        advice: follows after "stopped by SIGTERM: " in the one line on stderr.

    Raises:
        SystemExit: with code 143, from that function.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # only the main thread is told of signals
        return
    received = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number)) or signal.SIG_DFL

    def leave_if_told() -> None:
        if received:
            raise SystemExit(EXIT_CODE)

    try:
        yield leave_if_told
    except SystemExit:
        if received:
            print(f'{Path(sys.argv[0]).name}: stopped by SIGTERM: {advice}', file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def outlive_sigterm(loader: DataLoader) -> None:
    """Let the processes of a loader that has not started yet obey no SIGTERM but that of their parent.

    One that is meant for the whole job reaches them too, but its last iteration still needs images. Without this
    PyTorch ends them at once, and the parent fails. If the parent dies, PyTorch ends them within seconds.
    """
    if loader.num_workers and hasattr(signal, 'sigwaitinfo'):  # macOS has none
        loader.worker_init_fn = functools.partial(_init_worker, loader.worker_init_fn)


def _init_worker(then: Callable[[int], None] | None, worker: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey_parent, daemon=True).start()  # a handler would not learn who sent it
    if then is not None:
        then(worker)


def _obey_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)  # as in PyTorch's own handler
