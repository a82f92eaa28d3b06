"""Cells, the units of an evaluation, and their files on disk; a folder never mixes two runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmrobust.files import read_json, write_whole

IDENTITY = 'identity.json'
ASSUMED = {'precision': 'float32'}  # of an identity that does not name it


class Cell(NamedTuple):
    """One condition over the whole data set: a corruption at a severity, an attack, fog.

    Severity 0 is for what has none: clean images, those of a real condition, attacks.
    """

    name: str
    severity: int = 0

    @property
    def key(self) -> str:
        """Name and severity as one word, which is also the name of the cell's file."""
        return f'{self.name}_{self.severity}' if self.severity else self.name

    @classmethod
    def of_key(cls, key: str) -> 'Cell':
        """Inverse of :attr:`key`; what ends in another number than 1 to 5 has no severity."""
        name, _, severity = key.rpartition('_')
        return cls(name, int(severity)) if severity in ('1', '2', '3', '4', '5') else cls(key)


CLEAN = Cell('clean')


def shard(cells: Sequence[Cell], index: int, count: int) -> list[Cell]:
    """Part ``index`` (from 0) of ``count``: every cell is in exactly one part.

    Raises:
        ValueError: the index is not below the count.
    """
    if not 0 <= index < count:
        raise ValueError(f'a shard must be 0/{count} to {count - 1}/{count}, got {index}/{count}')
    return list(cells[index::count])


class CellStore:
    """A folder of finished cells of one model under one protocol; several processes may write to it at once.

    Args:
        folder: created if need be.
        counts_type: what is kept of a cell, with ``to_json`` and ``from_json``.
        identity: what decides the numbers (hashes of checkpoint and config, seed, ...). A folder of another identity
            is refused.

    Raises:
        ValueError: the folder holds cells of another identity, or its identity is damaged.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, counts_type: type, identity: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.counts_type = counts_type
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
        """The file of a cell's counts."""
        return self.folder / 'cells' / f'{cell.key}.json'

    def has(self, cell: Cell) -> bool:
        """Whether a cell is finished."""
        return self.path(cell).exists()

    def write(self, cell: Cell, counts: Any) -> None:
        """Keep a finished cell."""
        write_whole(self.path(cell), counts.to_json())

    def read(self, cell: Cell) -> Any:
        """A finished cell.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            return self.counts_type.from_json(self.path(cell).read_text())
        except ValueError as error:
            raise ValueError(f'{self.path(cell)} is damaged ({error}): remove it, and the cell is run again') from error
