"""Result of an evaluation, as results.json holds it: numbers, tables, provenance.

``results`` are the numbers by name, as scripts read them: ``results['mPC']``, ``results['corruptions']['fog']``. A
:class:`Table` says which of them belong together and what they are called, so a renderer needs no other knowledge.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmrobust.evaluation.worst import read_panels
from mmrobust.files import read_json

__all__ = ['RESULTS', 'SCHEMA', 'Column', 'Curve', 'Layout', 'Number', 'Published', 'Report', 'Table', 'at', 'finite']

RESULTS = 'results.json'
SCHEMA = 2
MOST_ROWS = 10_000  # a benchmark has a hundred
LARGEST = 1e12  # no rate or percentage is larger; sums of what is smaller stay finite


class Number(NamedTuple):
    """A number, the ends of its 95% interval, and how many images or videos it is of; None for what is unknown."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    count: int | None = None


@dataclass(frozen=True)
class Column:
    """Meaning of a number.

    Args:
        key: its name in the results, of the headline with ``/`` between the sections it lies in.
        title: what readers are told.
        better: ``'higher'``, ``'lower'``, or empty if neither is.
        of: this column is 100 minus that one, and not in the results.
        interval: in Markdown, ``'inline'`` behind the number, ``'column'`` in a column of its own, or empty.
        decimals: how many are shown.
        csv: names of its columns in CSV: of the number, and of the ends of its interval if these are wanted.
        markdown: whether Markdown shows it.
        same: a setting that two runs must share for this number to be compared; empty if there is none.
    """

    key: str
    title: str
    better: str = 'higher'
    of: str = ''
    interval: str = ''
    decimals: int = 2
    csv: tuple[str, ...] = ()
    markdown: bool = True
    same: str = ''


@dataclass(frozen=True)
class Table:
    """Numbers that belong together.

    Args:
        section: of the results, row to number or to columns; empty for the headline, which is one row.
        row: what a row is, in the singular.
        columns: the numbers of a row.
        title: heading.
        about: what to know of the numbers.
        role: ``'conditions'`` for what a model is compared by, ``'grid'`` for rows that are conditions at severities,
            ``'severities'``, ``'classes'``, or empty.
        before: rows that come first, each with the headline key of its number.
        after: rows that come last.
        apart: rows that are in no mean.
        csv_row: names of a row in CSV: one, or name and severity; empty if the table is not in CSV.
        markdown: whether Markdown shows it.
        heading: of the rows in Markdown, if it is not ``row``.
        ratio: what 100 - number, summed over severities and divided by that of a reference, is called; or empty.
    """

    section: str
    row: str
    columns: tuple[Column, ...]
    title: str = ''
    about: str = ''
    role: str = ''
    before: tuple[tuple[str, str], ...] = ()
    after: tuple[tuple[str, str], ...] = ()
    apart: tuple[str, ...] = ()
    csv_row: tuple[str, ...] = ()
    markdown: bool = True
    heading: str = ''
    ratio: str = ''


@dataclass(frozen=True)
class Curve:
    """A curve of each condition.

    Args:
        section: of the results, condition to two lists of one length by the keys of ``x`` and ``y``, 0 to 100.
        x: what is across.
        y: what is up.
        title: heading.
        about: what to know of it.
        diagonal: whether to draw the line on which both are equal.
    """

    section: str
    x: Column
    y: Column
    title: str
    about: str = ''
    diagonal: bool = False


@dataclass(frozen=True)
class Published:
    """Numbers as printed in a paper, to stand beside measured ones and never to be mixed up with them.

    Args:
        source: the paper and its table.
        about: what they are of.
        section: the table that they compare with.
        column: its column.
        overall: headline key of the mean, and what its row is called.
        models: model to row to text, the mean among them under the name of its row.
    """

    source: str
    about: str
    section: str
    column: str
    overall: tuple[str, str]
    models: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Layout:
    """How the results of a benchmark are shown.

    Args:
        benchmark: its name.
        title: what readers are told.
        kind: ``'segmentation'`` or ``'classification'``.
        about: what the numbers are.
        tables: the headline first.
        main: headline key of the number that answers.
        clean: headline key of the number on clean images; empty if there is none.
        protocol: names of the settings that must be the same in runs that are compared.
        sentences: what else to know of this run.
        published: what may stand beside it; None for nothing.
        unit: what is counted, ``'image'`` or ``'video'``.
        curves: of the conditions.
    """

    benchmark: str
    title: str
    kind: str
    about: str
    tables: tuple[Table, ...]
    main: str
    clean: str = ''
    protocol: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    published: Published | None = None
    unit: str = 'image'
    curves: tuple[Curve, ...] = ()

    def table(self, role: str) -> Table | None:
        """The first table of a role."""
        return next((table for table in self.tables if table.role == role), None)


@dataclass(repr=False)
class Report:
    """Result of a model on a benchmark.

    Args:
        layout: how it is shown.
        results: the numbers by name, in percent where nothing else is said, unrounded.
        provenance: config, checkpoint, versions and what else decides the numbers.
        classes: names of the K classes.
        palette: K colours, RGB from 0 to 255; empty if the classes have none.
        worst: images on which the model fails most: ``image``, ``cell`` and ``mIoU``, and ``panels``, title to the
            bytes of a JPEG or PNG file; None where a benchmark shows none.
    """

    layout: Layout
    results: Mapping[str, Any]
    provenance: Mapping[str, Any]
    classes: Sequence[str] = ()
    palette: Sequence[Sequence[int]] = ()
    worst: Sequence[Mapping[str, Any]] | None = None

    def __repr__(self) -> str:
        """One line."""
        numbers = ', '.join(f'{title} {value}' for title, value in self._shown_headline().items())
        return f'<Report of {self.name} on {self.layout.benchmark}: {numbers}>'

    def _repr_markdown_(self) -> str:
        """Shown by a notebook for the value of a cell."""
        shown = self._shown_headline()
        rows = (shown, ['---:'] * len(shown), shown.values())
        return '\n'.join([f'{self.name}: {self.layout.title}', '', *(f'| {" | ".join(row)} |' for row in rows)])

    def _shown_headline(self) -> dict[str, str]:
        """Title of each headline number to its text."""
        numbers = {column: self.number(self.headline, '', column) for column in self.headline.columns}
        return {column.title: shown(number.value, column.decimals) for column, number in numbers.items()}

    @property
    def name(self) -> str:
        """Name of the run, else that of its config."""
        return str(self.provenance.get('name') or Path(str(self.provenance.get('config'))).stem)

    @property
    def headline(self) -> Table:
        """The table of one row."""
        return self.layout.tables[0]

    @property
    def ran(self) -> Table:
        """The table whose rows say what was run."""
        return self.layout.table('grid') or self.layout.table('conditions') or self.headline

    def number(self, table: Table, row: str, column: Column) -> Number:
        """A number of a table; what is absent or not finite is None."""
        if column.of:
            of = self.number(table, row, dataclasses.replace(column, key=column.of, of=''))
            value, high, low = (None if found is None else 100 - found for found in of[:3])
            return Number(value, low, high, of.count)
        holder, key = self._place(table, row, column)
        if not isinstance(holder, Mapping):
            return Number(finite(holder), count=self._count(row))
        ends = finite_items(holder, f'{key}_interval')
        low, high = ends if len(ends) == 2 and None not in ends else (None, None)
        return Number(finite(at(holder, key)), low, high, self._count(row, holder))

    def first(self, key: str) -> Number:
        """A number of the headline."""
        return self.number(self.headline, '', Column(key, key))

    def own_rows(self, table: Table) -> list[str]:
        """Names of the rows that are in the table's section, in their own order."""
        section = at(self.results, table.section) if table.section else {'': None}
        return list(section) if isinstance(section, Mapping) else []

    def rows(self, table: Table) -> list[str]:
        """The same, with those that come before and after."""
        return [name for name, _ in table.before] + self.own_rows(table) + [name for name, _ in table.after]

    def draws(self, table: Table, row: str, column: Column) -> tuple[str | None, int, list[float | None]]:
        """Hash of the images of the bootstrap samples of a number, how many units were drawn, and the samples."""
        holder, key = self._place(table, row, column)
        own, shared = at(holder, 'bootstrap'), self.results.get('bootstrap')
        found, path = (shared, (table.section, row)) if own is None else (own, (key,))
        units = finite(at(found, 'units')) or 10**9  # a file that does not say: percentiles alone
        return at(found, 'images_sha256'), int(units), finite_items(found, *path)

    def points(self, curve: Curve, row: str) -> dict[float, float]:
        """The points of a curve of a condition; those that are not from 0 to 100 are left out."""
        pairs = zip(
            *(finite_items(self.results, curve.section, row, of.key) for of in (curve.x, curve.y)), strict=False
        )
        return {x: y for x, y in pairs if all(of is not None and -1e-6 < of < 100 + 1e-6 for of in (x, y))}

    def setting(self, name: str, default: Any = None) -> Any:
        """Value recorded under a name, in provenance or results."""
        return {**self.results, **self.provenance}.get(name, default)

    def to_json(self) -> str:
        """Text of a results.json."""
        content = {'schema': SCHEMA, 'provenance': self.provenance, 'results': self.results}
        if self.worst is not None:
            content['worst'] = [{key: value for key, value in case.items() if key != 'panels'} for case in self.worst]
        content |= {'classes': list(self.classes), 'palette': [list(color) for color in self.palette]}
        content['layout'] = dataclasses.asdict(self.layout)
        if not self.layout.curves:  # as it was written before there were any
            del content['layout']['curves']
        return _FLAT_LIST.sub(lambda found: ' '.join(found[0].split()), json.dumps(content, indent=2)) + '\n'

    @classmethod
    def read(cls, path: str | Path) -> 'Report':
        """Read a results.json, and the worst images that lie beside it.

        Raises:
            ValueError: it is something else, of another version, or lacks something; the sentence says what.
            FileNotFoundError: there is none.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f'There are no results {str(path)!r}: a run writes them when all its cells are finished.'
            )
        try:
            report = cls.from_json(read_json(path))
        except ValueError as error:
            raise ValueError(f'{path} is not the {RESULTS} of evaluate_robustness.py: {error}') from error
        return report.with_panels(path.parent)

    @classmethod
    def from_json(cls, content: Any) -> 'Report':
        """The report that a results.json holds.

        Raises:
            ValueError: it is something else, of another version, or lacks something.
        """
        if not isinstance(content, Mapping):
            raise ValueError(f'it must hold provenance and results by name, got {str(content)[:80]!r}')
        if content.get('schema') != SCHEMA:
            raise ValueError(
                f'its schema must be {SCHEMA}, got {str(content.get("schema"))[:80]}; run it again with this version'
            )
        results, provenance = (_mapping(content.get(name, {}), name) for name in ('results', 'provenance'))
        layout = _decode(Layout, content.get('layout'), 'layout')
        if not layout.tables:
            raise ValueError('layout must have a table at least, got none')
        sections = [table.section for table in layout.tables if table.section and table.section in results]
        sections += [curve.section for curve in layout.curves if curve.section in results]
        rows = {f'results / {name}': _mapping(results[name], f'results / {name}') for name in sections}
        for where, found in (rows | {'worst': content.get('worst')}).items():
            if isinstance(found, Mapping | list) and len(found) > MOST_ROWS:
                raise ValueError(f'{where} must have {MOST_ROWS:,} entries at most, got {len(found):,}')
        classes, palette = content.get('classes') or (), content.get('palette') or ()
        if not isinstance(classes, list | tuple) or not isinstance(palette, list | tuple):
            raise ValueError(f'classes and palette must be lists, got {str(classes)[:40]!r} and {str(palette)[:40]!r}')
        return cls(layout, results, provenance, [str(name) for name in classes], palette, content.get('worst'))

    def with_panels(self, folder: Path) -> 'Report':
        """The same with the worst images of a results folder.

        Raises:
            ValueError: ``worst`` is no list of cases, or a file is no image.
        """
        worst = None if self.worst is None else read_panels(folder, self.worst)
        return dataclasses.replace(self, worst=worst)

    def _place(self, table: Table, row: str, column: Column) -> tuple[Any, str]:
        """Container of a number and its name there; or the number itself, where a row is one."""
        linked = dict([*table.before, *table.after]).get(row)
        if table.section and linked is None:
            return at(self.results, table.section, row), column.key
        *outer, key = (linked or column.key).split('/')
        return at(self.results, *outer), key

    def _count(self, row: str, holder: Any = None) -> int | None:
        found = at(holder, 'num_images') or at(holder, 'num_videos') or self.provenance.get('num_images')
        found = found.get(row) if isinstance(found, Mapping) else found
        return found if isinstance(found, int) and not isinstance(found, bool) else None


def shown(value: float | None, decimals: int = 2, dash: str = '-') -> str:
    """A number, or a dash for None."""
    return dash if value is None else f'{value:.{decimals}f}'


def finite(value: Any) -> float | None:
    """The value as a float, None for what is no finite number, or too large for a rate, so that sums stay finite."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and -LARGEST < value < LARGEST else None


def at(values: Any, *path: str) -> Any:
    """Value of nested mappings at a path, None if absent."""
    for name in path:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def finite_items(values: Any, *path: str) -> list[float | None]:
    """The items of a list in nested mappings, None for each that is no finite number; none if there is no list."""
    found = at(values, *path)
    return [finite(value) for value in found] if isinstance(found, Sequence) else []


# a list of numbers in indented JSON: one line is enough for a thousand draws; no string holds a line break
_FLAT_LIST = re.compile(r'\[\n[^\[\]{}"]*\]')


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f'{where} must hold values by name, got {str(value)[:80]!r}')
    return value


def _decode(kind: Any, value: Any, where: str) -> Any:
    """A layout, or a part of one, from JSON: whatever a dataclass has no field for is left out.

    Raises:
        ValueError: a value is of another type than its field.
    """
    wrong = ValueError(f'{where} must be {getattr(kind, "__name__", kind)}, got {str(value)[:80]!r}')
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise wrong
        return kind(**dict(_fields(kind, value, where)))
    if kind in (str, int, bool):
        if type(value) is not kind:
            raise wrong
        return value
    if kind == Published | None:
        return None if value is None else _decode(Published, value, where)
    if kind == Mapping[str, Mapping[str, str]]:
        return {name: {row: str(text) for row, text in _mapping(rows, where).items()}
                for name, rows in _mapping(value, where).items()}  # fmt: skip
    if not isinstance(value, list | tuple):
        raise wrong
    inner = kind.__args__  # of a tuple: of any length, or of a fixed one
    kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
    if len(kinds) != len(value):
        raise wrong
    return tuple(_decode(of, one, where) for of, one in zip(kinds, value, strict=True))


def _fields(kind: Any, value: Mapping, where: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(kind):
        if field.name in value:
            yield field.name, _decode(field.type, value[field.name], f'{where} / {field.name}')
        elif field.default is dataclasses.MISSING:
            raise ValueError(f'{where} lacks {field.name}')
