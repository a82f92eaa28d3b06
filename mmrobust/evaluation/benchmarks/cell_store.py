"""Finished cells on disk: one file each, written whole or not at all, and never of two different models."""

import json
from pathlib import Path
from typing import Any

from mmrobust.evaluation.protocols import Cell
from mmrobust.files import read_json, write_whole

IDENTITY = 'identity.json'
ASSUMED = {'precision': 'float32'}  # of an identity that does not name it


class CellStore:
    """A folder of finished cells of one model under one protocol; several processes may write to it at once.

    Args:
        folder: created if need be.
        result_type: what is kept of a cell, with ``to_json`` and ``from_json``.
        identity: what decides the numbers (hashes of checkpoint and config, seed, ...). A folder of another identity
            is refused.

    Raises:
        ValueError: the folder holds cells of another identity, or its identity is damaged.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, result_type: type, identity: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.result_type = result_type
        self.identity = identity
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / IDENTITY
        if not path.exists():
            write_whole(path, json.dumps(identity, indent=2, sort_keys=True) + '\n')
        found = read_json(path)
        if not isinstance(found, dict):
            raise ValueError(f'{path} must hold what decides the numbers by name, got {str(found)[:80]!r}')
        found, identity = ASSUMED | found, ASSUMED | identity
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

    def write(self, cell: Cell, result: Any) -> None:
        """Keep a finished cell."""
        write_whole(self.path(cell), result.to_json())

    def read(self, cell: Cell) -> Any:
        """A finished cell.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            return self.result_type.from_json(self.path(cell).read_text())
        except ValueError as error:
            raise ValueError(f'{self.path(cell)} is damaged ({error}): remove it, and the cell is run again') from error
