"""Cells, the units of an evaluation, and their files on disk; a folder never mixes two runs."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmrobust.files import create_whole, read_json, write_whole

IDENTITY = 'identity.json'
FORMAT = 2  # of a results folder: the first did not record its images, and of its config a hash only
PLACES = ('data_root', 'data_prefix', 'ann_file')  # where images lie; what they are is in their hash
ASSUMED = {'precision': 'float32'}  # of an identity that does not name it
_SHOWN = 4  # differences that a sentence names


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
    require_shard(index, count)
    return list(cells[index::count])


def require_shard(index: int, count: int) -> None:
    """Raise ValueError if a part ``index`` (from 0) of ``count`` cannot be."""
    if count < 1:
        raise ValueError(f'a shard must be one of 1 or more, such as 0/3, got {index}/{count}')
    if not 0 <= index < count:
        raise ValueError(f'a shard must be 0/{count} to {count - 1}/{count}, got {index}/{count}')


def differences(
    there: Mapping[str, Any], here: Mapping[str, Any], phrase: str = '{} {} there and {} here'
) -> list[str]:
    """Differences of two identities, a phrase each with both values; empty if they are of the same numbers.

    Places of images are named beside what differs, and are no difference themselves. Of ``images_sha256``, which is by
    cell, those cells count that both have.
    """
    found, asked = (dict(_leaves(ASSUMED | dict(identity))) for identity in (there, here))
    keys = [key for key in sorted({*found, *asked}) if key not in found or key not in asked or found[key] != asked[key]]
    keys = [key for key in keys if not key.startswith('images_sha256.') or (key in found and key in asked)]
    if all(_is_place(key) for key in keys):
        return []
    keys.sort(key=_is_place)
    phrases = [phrase.format(key, _shown(found, key), _shown(asked, key)) for key in keys]
    return phrases[:_SHOWN] + ([f'and {len(phrases) - _SHOWN} more'] if len(phrases) > _SHOWN else [])


class CellStore:
    """A folder of finished cells of one model under one protocol; several processes may write to it at once.

    Args:
        folder: created if need be.
        counts_type: what is kept of a cell, with ``to_json`` and ``from_json``.
        identity: what decides the numbers (hashes of checkpoint and images, config, seed, ...), for JSON. A folder of
            another identity is refused.
        check: raises ValueError if the counts of a cell cannot be those of its images.

    Raises:
        ValueError: the folder holds cells of another identity, of an earlier version or of none; or its identity is
            damaged.
        OSError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        counts_type: type,
        identity: dict[str, Any],
        check: Callable[[Cell, Any], None] = lambda cell, counts: None,
    ) -> None:
        self.folder = Path(folder)
        self.counts_type = counts_type
        self.identity = json.loads(json.dumps(identity, default=str))  # as it is read again
        self.check = check
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / IDENTITY
        # an identity is there before the first cell is
        if any(self.folder.glob('cells/*.json')) and not path.exists():
            raise ValueError(
                f'{self.folder} has finished cells but no {IDENTITY}, which says of what they are: give another folder'
            )
        create_whole(path, json.dumps({'format': FORMAT, **self.identity}, indent=2, sort_keys=True) + '\n')
        found = read_json(path)
        if not isinstance(found, dict):
            raise ValueError(f'{path} must hold what decides the numbers by name, got {str(found)[:80]!r}')
        if found.pop('format', 1) != FORMAT:
            raise ValueError(
                f'{self.folder} holds results of another version of mmrobust, which recorded other things about its '
                'images and its config: give another folder'
            )
        wrong = differences(found, self.identity)
        if wrong:
            raise ValueError(f'{self.folder} holds results of another run ({"; ".join(wrong)}): give another folder')

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
            ValueError: the file is damaged, or of other images.
        """
        try:
            counts = self.counts_type.from_json(self.path(cell).read_text())
            self.check(cell, counts)
            return counts
        except ValueError as error:
            raise ValueError(f'{self.path(cell)} is damaged ({error}): remove it, and the cell is run again') from error


def _leaves(value: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Everything in nested mappings and lists by its dotted path; a list of numbers is one value."""
    plain = isinstance(value, list) and all(isinstance(one, int | float) for one in value)
    if not isinstance(value, dict | list) or plain or not value:
        yield path, value
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(inner, f'{path}.{key}' if path else str(key))


def _is_place(key: str) -> bool:
    return any(part in PLACES for part in key.split('.'))


def _shown(values: Mapping[str, Any], key: str) -> str:
    text = repr(values[key]) if key in values else 'nothing'
    return text if len(text) <= 80 else f'{text[:80]}...'
