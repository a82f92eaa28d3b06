"""Allows one run at a time in a work_dir."""

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from mmengine.logging import print_log

__all__ = ['lock_work_dir']

NAME = 'run.lock'
HELD = (errno.EAGAIN, errno.EACCES)
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def lock_work_dir(work_dir: str | Path) -> Iterator[None]:
    """Hold a lock on ``run.lock`` in a folder, which is made if need be; the system ends it with the process.

    It is a POSIX record lock: loading processes do not inherit it, so it does not outlive a SIGKILL, and it holds over
    NFS. Where a file system has none, a warning says so. The file itself stays.

    Raises:
        OSError: another process holds the lock, which the message names; the folder cannot be written.
    """
    path = Path(work_dir) / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a+') as file:
        try:
            if fcntl is None:
                raise OSError(errno.ENOSYS, 'this system has no record locks')
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in HELD:
                file.seek(0)
                holder = file.read().strip() or 'another process'
                raise OSError(
                    f'The folder {work_dir} belongs to a run of {holder}: give another --work-dir, or wait for it.'
                ) from None
            if error.errno not in UNSUPPORTED:
                raise
            print_log(
                f'{work_dir} cannot be locked ({error.strerror}): see that no other run writes there.',
                logger='current',
                level=logging.WARNING,
            )
        try:
            os.truncate(path, 0)
            os.write(file.fileno(), f'process {os.getpid()} on {socket.gethostname()}\n'.encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        yield
