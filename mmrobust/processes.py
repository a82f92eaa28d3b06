"""Ends processes that have lost their parent or cannot hand over a batch; tells whether one is alive."""

import errno
import multiprocessing
import os
import threading
import traceback
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from torch.utils.data import get_worker_info

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
