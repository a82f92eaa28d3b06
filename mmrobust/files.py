"""Atomic file writes, and JSON of unknown origin read with limits."""

import difflib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend

MAX_DEPTH = 50  # a file of ours has ten levels at most
MAX_BYTES = 16 * 2**20  # and half a megabyte


def nothing_at(kind: str, path: str | Path) -> FileNotFoundError:
    """The error for a path where there is nothing, with a name that is like it if there is one.

    Args:
        kind: what should be there: "checkpoint".
        path: what the user gave.
    """
    place = Path(path)
    there = os.listdir(place.parent) if place.parent.is_dir() else ()
    close = difflib.get_close_matches(place.name, there, n=1)
    remedy = (
        f'perhaps {str(place.parent / close[0])!r} is meant' if close else f'check the path, seen from {os.getcwd()}'
    )
    return FileNotFoundError(f'There is no {kind} {str(path)!r}: {remedy}.')


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: it is none, not UTF-8, larger than 16 MiB, or nested so deeply that whoever walks over it would run
            out of stack.
        OSError: it cannot be read.
    """
    with Path(path).open('rb') as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise ValueError(f'{path} is larger than {MAX_BYTES // 2**20} MiB, which no file of mmrobust is')
    try:
        content = json.loads(text.decode('utf-8'))
        level, depth = [content], 0
        while level:
            depth += 1
            if depth > MAX_DEPTH:
                raise RecursionError
            level = [
                child
                for value in level
                if isinstance(value, dict | list)
                for child in (value.values() if isinstance(value, dict) else value)
            ]
    except RecursionError:  # json's own too
        raise ValueError(f'{path} is nested deeper than {MAX_DEPTH} levels') from None
    except ValueError as error:
        raise ValueError(f'{path} is no JSON: {error}') from error
    return content


def write_whole(path: str | Path, content: bytes | str, temporary: str | Path | None = None) -> None:
    """Write a file under another name and rename it; its folder is made if need be.

    A link is followed, and a pipe or a device is written into.

    Args:
        path: the file.
        content: all of it; text becomes UTF-8, and names from an ASCII locale the bytes that they were.
        temporary: the other name, in the same folder. None takes one that no other process takes, on any machine; a
            name of one's own is better for big files, because the next try overwrites what a killed process left.

    Raises:
        OSError: the disk is full or the folder cannot be written; what was there before is still there.
    """
    path = Path(path)
    content = content.encode(errors='surrogateescape') if isinstance(content, str) else content
    if path.exists() and (not path.is_file() or str(path.absolute()).startswith(('/dev/', '/proc/'))):
        with path.open('ab') as file:  # a pipe, a device, /dev/stdout: a name that must not go to a file
            file.write(content)
        return
    path = Path(os.path.realpath(path))  # a link stays, and its target is written
    partial = path.with_name(Path(temporary).name if temporary else f'{path.name}.{secrets.token_hex(6)}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open('wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut can leave the new name with no content
        os.replace(partial, path)
    except BaseException as error:  # Ctrl-C too
        _remove(partial)
        if isinstance(error, OSError):
            raise OSError(error.errno, f'{error.strerror}, nothing was changed', str(path)) from error
        raise


def create_whole(path: str | Path, content: str) -> None:
    """Write a file unless there is one: of several processes at once one is first, and the others find its file.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    if path.exists():
        return
    own = path.with_name(f'{path.name}.{secrets.token_hex(6)}.tmp')
    write_whole(own, content)
    try:
        os.link(own, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links: the name is as exclusive, but the content comes after it
        with suppress(FileExistsError), path.open('x', encoding='utf-8') as file:
            file.write(content)
    finally:
        _remove(own)


@register_backend('mmrobust_atomic')
class AtomicLocalBackend(LocalBackend):
    """MMEngine's local backend, but a file keeps its old content until all of the new one is on the disk.

    Use it as ``backend_args=dict(backend='mmrobust_atomic')``. The new content is written beside the file under the
    name with ``.tmp`` appended, which an error removes; what a killed process leaves there, the next try overwrites.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes, making the folder if need be.

        Raises:
            OSError: The disk is full or refuses; the file is what it was before.
        """
        write_whole(filepath, obj, temporary=f'{filepath}.tmp')

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text; otherwise as ``put``."""
        self.put(obj.encode(encoding), filepath)


def _remove(partial: Path) -> None:
    with suppress(OSError):  # its folder is none, or read-only: then there is nothing to remove
        partial.unlink(missing_ok=True)
