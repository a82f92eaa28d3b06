"""Lets one process at a time have a folder, and fills a folder completely or not at all."""

import errno
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from mmengine.logging import print_log

PARTIAL = '.partial'  # in a folder that is being filled
FOREIGN = (PARTIAL, 'lost+found')  # the latter is in every volume
HELD = (errno.EAGAIN, errno.EACCES)
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def lock_folder(folder: str | Path, name: str = 'run.lock') -> Iterator[None]:
    """Hold a lock on a file in a folder, which is made if need be; the system ends it with the process.

    It is a POSIX record lock: loading processes do not inherit it, so it does not outlive a SIGKILL, and it holds over
    NFS. Where a file system has none, a warning says so. The file itself stays.

    Raises:
        OSError: another process holds the lock, which the message names; the folder cannot be written.
    """
    path = Path(folder) / name
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
                    f'The folder {folder} belongs to a run of {holder}: give another one, or wait for it.'
                ) from None
            if error.errno not in UNSUPPORTED:
                raise
            print_log(
                f'{folder} cannot be locked ({error.strerror}): see that no other run writes there.',
                logger='current',
                level=logging.WARNING,
            )
        try:
            os.truncate(path, 0)
            os.write(file.fileno(), f'process {os.getpid()} on {socket.gethostname()}\n'.encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        yield


def is_empty(folder: Path) -> bool:
    """Whether there is nothing in a folder, or no folder, except for what a killed process has left there."""
    return not folder.exists() or (folder.is_dir() and all(place.name in FOREIGN for place in folder.iterdir()))


def is_filled(root: Path, sign: str, parameters: Mapping[str, Any], overwrite: bool, what: str) -> bool:
    """Whether a folder is there that was filled with these parameters, which the file ``sign`` in it holds as JSON.

    Raises:
        ValueError: it is filled with others and ``overwrite`` is False, or with something else than ``what``.
    """
    if is_empty(root):
        return False
    if not (root / sign).is_file():
        raise ValueError(f'{root} must be a folder of {what}, an empty one or a new one; it has no {sign}')
    found = read_parameters(root / sign)
    if found != parameters and not overwrite:
        keys = [key for key in {**parameters, **found} if found.get(key) != parameters.get(key)]
        listed = ', '.join(f'{key}={found.get(key)} (asked for {parameters.get(key)})' for key in keys)
        raise ValueError(f'{root} holds {what} with other parameters, {listed}: pass --overwrite to replace it')
    return found == parameters


def read_parameters(file: Path) -> dict[str, Any]:
    """What a folder was filled with.

    Raises:
        ValueError: the file is no JSON of the kind.
    """
    try:
        return dict(json.loads(file.read_text()))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f'{file} is damaged ({error}): remove the folder {file.parent}') from error


@contextmanager
def fill_folder(root: str | Path, sign: str) -> Iterator[Path]:
    """Give a new folder inside ``root`` to fill; at the end what is in it takes the place of what is in ``root``.

    ``root`` itself is never moved, so it may be the current folder, a link to one, or a volume. What a killed process
    has left is removed at the next time.

    Args:
        root: made if need be.
        sign: the file that says that all is there: the old one goes first, the new one comes last.

    Raises:
        OSError: another process fills it, or it cannot be written; what is in it is what it was before.
    """
    root = Path(root)
    is_new = not root.exists()
    partial = root / PARTIAL
    with lock_folder(root, f'{PARTIAL}/run.lock'):
        try:
            new, old = partial / 'new', partial / 'old'
            for left in (new, old):
                shutil.rmtree(left, ignore_errors=True)
                left.mkdir()
            yield new
            for place in sorted(root.iterdir(), key=lambda place: place.name != sign):
                if place.name not in FOREIGN:
                    place.rename(old / place.name)
            for place in sorted(new.iterdir(), key=lambda place: place.name == sign):
                place.rename(root / place.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if is_new:
                with suppress(OSError):  # it is filled
                    root.rmdir()
