"""The zoo's entries; they are in zoo.yml beside this file."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from mmrobust.evaluation.paper_tables import paper_tables

QUANTITIES = ('parameters', 'macs')


@dataclass(frozen=True)
class Figure:
    """A published number.

    Attributes:
        quantity: ``'parameters'``, in millions, or ``'macs'``, in units of 1e9.
        value: the number as printed.
        source: where it is printed: a name of ``sources()``, or a table of the paper.
        shape: height and width of the image in pixels.
        why: why it is far from what the config builds, or None.
    """

    quantity: str
    value: float
    source: str
    shape: tuple[int, int]
    why: str | None


@dataclass(frozen=True)
class ZooEntry:
    """A system.

    Attributes:
        name: its config's name without folder and suffix.
        config: path below ``configs/``, or None if there is none.
        missing: why there is none.
        weights: where weights are if the config does not name them.
        figures: published numbers.
    """

    name: str
    config: str | None
    missing: str | None
    weights: str | None
    figures: tuple[Figure, ...]


@functools.cache
def zoo() -> dict[str, ZooEntry]:
    """All entries by name."""
    return {
        name: ZooEntry(
            name=name,
            config=entry.get('config'),
            missing=entry.get('missing'),
            weights=entry.get('weights'),
            figures=tuple(figure for item in entry.get('published', ()) for figure in _figures(item)),
        )
        for name, entry in _content()['entries'].items()
    }


def sources() -> dict[str, str]:
    """Where published numbers are from, in full."""
    return _content()['sources']


@functools.cache
def _content() -> dict:
    return yaml.safe_load(Path(__file__).with_name('zoo.yml').read_text(encoding='utf-8'))


def _figures(item: dict) -> Iterator[Figure]:
    numbers, source = item, item.get('source')
    if 'table' in item:
        numbers = paper_tables()[item['table']].row(item['row']).values
        source = source or f'paper, Table {item["table"]}'
    for quantity in QUANTITIES:
        if numbers.get(quantity) is not None:
            shape = tuple(item.get('input', (224, 224)))
            yield Figure(quantity, numbers[quantity], source, shape, item.get('why', {}).get(quantity))
