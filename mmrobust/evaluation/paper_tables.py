"""The paper's tables and that of STL, as printed; the numbers are in paper_tables.yml beside this file."""

import functools
from dataclasses import dataclass
from pathlib import Path

import yaml

BASE = 'FAN-B-Hybrid'


@dataclass(frozen=True)
class Row:
    """One system of a table.

    Attributes:
        name: what it is called.
        configs: names of the configs that build it, the one closest to the paper first.
        values: measure to the number printed; None where there is a dash.
        note: where the print disagrees with itself, or None.
    """

    name: str
    configs: tuple[str, ...]
    values: dict[str, float | None]
    note: str | None


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Attributes:
        name: its number in the paper: ``'1'`` to ``'5'``, ``'I'`` to ``'IV'``; or ``'STL'``.
        caption: what it is about.
        columns: heading to measure.
        rows: in the paper's order.
    """

    name: str
    caption: str
    columns: dict[str, str]
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row:
        """The row of a name.

        Raises:
            ValueError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise ValueError(
            f'Table {self.name} has no row {name!r}: choose from {", ".join(row.name for row in self.rows)}'
        )


@functools.cache
def paper_tables() -> dict[str, PaperTable]:
    """All tables by number, in the paper's order; STL last."""
    content = yaml.safe_load(Path(__file__).with_suffix('.yml').read_text(encoding='utf-8'))
    tables = {}
    for name in sorted(content, key=lambda name: (not name.isdigit(), name)):
        table = content[name]
        notes = table.get('notes', {})
        rows = (
            Row(
                name=row,
                configs=tuple(given['configs']),
                values=dict(zip(table['columns'].values(), given['values'], strict=True)),
                note=notes.get(row),
            )
            for row, given in table['rows'].items()
        )
        tables[name] = PaperTable(name, table['caption'], table['columns'], tuple(rows))
    return tables


def paper_models(table: str, prefix: str, overall: dict[str, str]) -> dict[str, dict[str, float | None]]:
    """Rows of a table for the paper's own models.

    Args:
        table: its number.
        prefix: of the measures to take; what follows it is what they are called.
        overall: more measures, by what to call them.

    Returns:
        model, such as ``'+ TAP'``, to name to number.
    """
    return {
        row.name.removeprefix(f'{BASE} '): {
            **{name.removeprefix(prefix): value for name, value in row.values.items() if name.startswith(prefix)},
            **{name: row.values[measure] for name, measure in overall.items()},
        }
        for row in paper_tables()[table].rows
        if row.name.startswith(BASE)
    }
