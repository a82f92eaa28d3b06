"""Finished cells on disk: one file each, written whole or not at all, and never of two different models."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from mmrobust.evaluation.benchmarks.protocols import Cell

IDENTITY = 'identity.json'


class CellResult:
    """Counts of one cell.

    Args:
        confusion: ``(K, K)`` pixels by label (rows) and prediction (columns).
        images: name of each picture to its counts ``(3, K)``: intersection, prediction and label.
    """

    def __init__(self, confusion: np.ndarray, images: dict[str, np.ndarray]) -> None:
        self.confusion = confusion
        self.images = images

    def to_json(self) -> str:
        """Text that depends on the counts only, pictures sorted by name."""
        lines = [f'    {json.dumps(name)}: {json.dumps(self.images[name].tolist())}' for name in sorted(self.images)]
        confusion = json.dumps(self.confusion.tolist())
        return '{\n  "confusion": ' + confusion + ',\n  "images": {\n' + ',\n'.join(lines) + '\n  }\n}\n'

    @classmethod
    def from_json(cls, text: str) -> 'CellResult':
        """Inverse of :meth:`to_json`.

        Raises:
            ValueError: this is not such a text.
        """
        try:
            content = json.loads(text)
            images = {name: np.array(counts, np.int64) for name, counts in content['images'].items()}
            return cls(np.array(content['confusion'], np.int64), images)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'not the counts of a cell: {error}') from error


class CellStore:
    """A folder of finished cells of one model under one protocol; several processes may write to it at once.

    Args:
        folder: created if need be.
        identity: what decides the numbers (hashes of checkpoint and config, seed, ...). A folder of another identity
            is refused.

    Raises:
        ValueError: the folder holds cells of another identity.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, identity: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / IDENTITY
        if not path.exists():
            write_whole(path, json.dumps(identity, indent=2, sort_keys=True) + '\n')
        found = json.loads(path.read_text())
        wrong = [key for key in sorted({*identity, *found}) if identity.get(key) != found.get(key)]
        if wrong:
            listed = '; '.join(f'{key} {found.get(key)!r} there and {identity.get(key)!r} here' for key in wrong)
            raise ValueError(f'{self.folder} holds results of another run ({listed}): give another folder')

    def path(self, cell: Cell) -> Path:
        """Where a cell's counts lie."""
        return self.folder / 'cells' / f'{cell.name}.json'

    def has(self, cell: Cell) -> bool:
        """Whether a cell is finished."""
        return self.path(cell).exists()

    def write(self, cell: Cell, result: CellResult) -> None:
        """Keep a finished cell."""
        self.path(cell).parent.mkdir(exist_ok=True)
        write_whole(self.path(cell), result.to_json())

    def read(self, cell: Cell) -> CellResult:
        """A finished cell.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            return CellResult.from_json(self.path(cell).read_text())
        except ValueError as error:
            raise ValueError(f'{self.path(cell)} is damaged ({error}): remove it, and the cell is run again') from error


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name and rename it, so that it is there completely or not at all.

    Raises:
        OSError: the disk is full or the folder cannot be written; what was there before is still there.
    """
    partial = path.with_name(f'{path.name}.{os.getpid()}.tmp')  # processes may write the same file at once
    try:
        with partial.open('w') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, f'{error.strerror}, nothing was changed', str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
