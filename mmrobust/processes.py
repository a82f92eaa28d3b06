"""Whether processes live, and those that do not outlive the one that has started them."""

import multiprocessing
import os
import threading
from pathlib import Path

__all__ = ['end_with_parent', 'is_alive']


def end_with_parent() -> None:
    """In a process of a pool: end when the parent does, even by SIGKILL; otherwise it waits for work for ever."""
    threading.Thread(target=_wait_for_its_end, daemon=True).start()


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
