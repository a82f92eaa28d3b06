"""Reports of one or several models as one HTML page: what it shows is decided here, how it looks in the template."""

import base64
import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.comparison import change, is_significant, protocol_differences, ran_the_same, ratios
from mmrobust.evaluation.report import Column, Number, Report, Table, finite
from mmrobust.evaluation.worst import media_type
from mmrobust.registry import BENCHMARKS
from mmrobust.visualization import page_charts

__all__ = ['to_html']

DASH = '\N{EN DASH}'
FEW = 100  # images; with fewer no difference can be trusted
_TOP = 3  # worst conditions, classes and images at the top
_WIDE = 3  # columns of a table by class that are not shown as a map of colours
_ARROWS = {'higher': '\N{UPWARDS ARROW}', 'lower': '\N{DOWNWARDS ARROW}', '': ''}

# name of a run to its report
Runs = Mapping[str, Report]


def to_html(
    reports: Mapping[str, Iterable[Report]],
    reference: str | None = None,
    title: str | None = None,
) -> str:
    """One HTML5 page that needs no other file: styles, charts and images are inside, and there is no script.

    Args:
        reports: what to call a model to its reports, one for each benchmark. What is absent from one, or is not a
            finite number, becomes a dash.
        reference: the model that changes are against.
        title: heading of the page.

    Returns:
        ASCII text; other characters are written as character references.

    Raises:
        ValueError: there is no report, or two of one model on one benchmark; they are of segmentation and of
            classification; no model is called like the reference; a panel is neither JPEG nor PNG, or a colour is none.
    """
    benchmarks = by_benchmark(reports)
    kinds = {run.layout.kind: name for name, runs in benchmarks.items() for run in runs.values()}
    if not kinds:
        raise ValueError('a page needs one run at least, got none')
    if len(kinds) > 1:
        raise ValueError(f'a page is of segmentation or of classification, not of both, got {" and ".join(benchmarks)}')
    places = {name: place for place, name in enumerate(reports)}
    if reference is not None and reference not in places:
        raise ValueError(f'the reference must be one of {", ".join(places)}, got {reference!r}')
    sections = [_Section(runs, places, reference).shown() for runs in benchmarks.values()]
    return _template().render(
        title=title or f'{next(iter(kinds)).capitalize()} robustness',
        differences='; '.join(protocol_differences(benchmarks)),
        sections=sections,
        keys=[_key(place, name) for name, place in places.items()],
        reference=reference,
    ).encode('ascii', 'xmlcharrefreplace').decode()  # fmt: skip


def by_benchmark(reports: Mapping[str, Iterable[Report]]) -> dict[str, dict[str, Report]]:
    """Benchmark, in the order of their registration, to name of a model to its report.

    Raises:
        ValueError: a model has two reports on one benchmark.
    """
    found: dict[str, dict[str, Report]] = {}
    for name, of in reports.items():
        for report in of:
            runs = found.setdefault(report.layout.benchmark, {})
            if name in runs:
                raise ValueError(
                    f'two runs on {report.layout.benchmark} are called {name!r}: give them different names'
                )
            runs[name] = report
    BENCHMARKS.import_from_location()
    known = [name for name in BENCHMARKS.module_dict if name in found]
    return {name: found[name] for name in [*known, *(name for name in found if name not in known)]}


@functools.cache
def _template():
    folder = FileSystemLoader(Path(__file__).parent)
    env = Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return env.get_template('results_page.html.j2')


class _Section:
    """What the page says of one benchmark.

    Args:
        runs: its runs.
        places: name of a run to its place on the page, from 0, of all benchmarks together: it decides colour and
            marker, so that a run looks the same everywhere.
        reference: the run that changes are against.
    """

    def __init__(self, runs: Runs, places: Mapping[str, int], reference: str | None) -> None:
        self.runs = runs
        self.places = places
        self.reference = reference if reference in runs else None
        self.base = runs.get(reference) if reference is not None else None
        self.others = {name: run for name, run in runs.items() if self.base is not None and name != reference}
        self.first = next(iter(runs.values()))
        self.layout = self.first.layout
        self.conditions = self.layout.table('conditions')
        self.grid = self.layout.table('grid')
        cells = [] if self.grid is None else [key for run in runs.values() for key in run.own_rows(self.grid)]
        self.levels = sorted({Cell.of_key(key).severity for key in cells})

    def shown(self) -> dict[str, Any]:
        """Everything, for the template."""
        top, more = self._cases()
        return {
            'id': self.layout.benchmark,
            'title': self.layout.title,
            'about': self.layout.about,
            'facts': ' \N{MIDDLE DOT} '.join(self._facts()),
            'verdict': list(self._verdict()),
            'warning': self._warning(),
            'sentences': list(self._sentences()),
            'headline': self._headline(),
            'plot': self._plot(),
            'top': top,
            'parts': [part for part in self._parts() if part],
            'cases': more,
            'colors': self._colors() if top or any(case['panels'] for _, of in more for case in of) else [],
            'provenance': self._provenance(),
        }

    # the first screen

    def _facts(self) -> Iterator[str]:
        """What was run, in a line."""
        numbers = {self._images(run) for run in self.runs.values()}
        if len(numbers) == 1 and None not in numbers:
            yield _counted(numbers.pop(), self.layout.unit)
        if self.conditions is not None:
            yield _counted(len(self._rows(self.conditions, linked=False)), self.conditions.row)
        if len(self.levels) == 1 and self.levels[0]:
            yield f'severity {self.levels[0]}'
        elif len(self.levels) > 1:
            yield f'severities {", ".join(map(str, self.levels))}'
        for name in self.layout.protocol:
            values = {str(run.setting(name)) for run in self.runs.values()}
            if name != 'num_images' and len(values) == 1:
                yield f'{name.replace("_", " ")} {values.pop()}'
        yield _counted(len(self.runs), 'model')

    def _images(self, run: Report) -> int | None:
        """How many images the smallest cell has."""
        found = run.provenance.get('num_images')
        numbers = list(found.values()) if isinstance(found, Mapping) else [found]
        numbers = [number for number in numbers if isinstance(number, int) and not isinstance(number, bool)]
        return min(numbers, default=None)

    def _verdict(self) -> Iterator[str]:
        if self.base is None or not self.others:
            for name, run in self.runs.items():
                yield (f'{name}: ' if len(self.runs) > 1 else '') + self._level(run)
        for name, run in self.others.items():
            yield f'{name} against {self.reference}: {self._change(run)}'
        for table, what in ((self.conditions, 'Worst'), (self.layout.table('classes'), 'Worst classes')):
            if table is not None:
                column = table.columns[0 if table is self.conditions else -1]
                rows = [row for row in self._rows(table, linked=False) if row not in table.apart]
                found = {row: self._mean(table, row, column) for row in rows if row != 'clean'}
                listed = [f'{row} {value:.1f}' for row, value in found.items() if value is not None][:_TOP]
                if listed and (len(listed) > 1 or what == 'Worst'):
                    yield f'{what}: {", ".join(listed)}' + (', mean of the models.' if len(self.runs) > 1 else '.')

    def _level(self, run: Report) -> str:
        column = self._main(run)
        if column is None:
            return f'{DASH}.'
        number, text = run.number(run.headline, '', column), column.title
        if number.value is None:
            return f'{text} {DASH}.'
        text += f' {number.value:.2f}' + ('' if number.low is None else f' ({_ends(number)})')
        clean = run.first(run.layout.clean).value if run.layout.clean else None
        if clean is None:
            return f'{text}.'
        gap = number.value - clean
        return f'{text}, {abs(gap):.2f} points {"above" if gap > 0 else "below"} clean images ({clean:.2f}).'

    def _change(self, run: Report) -> str:
        column = self._main(self.base)
        if not ran_the_same(run, self.base) or column is None:
            return 'the two did not run the same cells.'
        whole = change(run, self.base, self.base.headline, '', column)
        text = f'{column.title} {_signed(whole)}'
        if whole.value is None:
            text += ', which cannot be compared.'
        elif whole.low is None:
            text += '; no interval, because the images are not known to be the same.'
        else:
            text += f', {_judged(whole, column)}.'
        if self.conditions is None:
            return text
        rows = [row for row in self._rows(self.conditions, linked=False) if row not in self.conditions.apart]
        of = self.conditions.columns[0]
        found = {row: change(run, self.base, self.conditions, row, of) for row in rows}
        found = {row: number for row, number in found.items() if number.value is not None}
        if any(number.low is not None for number in found.values()):
            text += f' Of {_counted(len(found), self.conditions.row.removesuffix("s"))}, each by itself: '
            text += '; '.join(
                _among(
                    word, {row: number for row, number in found.items() if is_significant(number) and better(number)}
                )
                for word, better in (
                    ('better', lambda number: _improved(number, of)),
                    ('worse', lambda number: not _improved(number, of)),
                )
            )
            return f'{text}; the others do not differ significantly.'
        largest = sorted(found, key=lambda row: -abs(found[row].value))[:_TOP]
        return text + (
            f' Largest changes: {", ".join(f"{row} {_signed(found[row])}" for row in largest)}.' if found else ''
        )

    def _warning(self) -> str:
        few = [number for run in self.runs.values() if (number := self._images(run)) is not None and number < FEW]
        said = f'{_counted(min(few), self.layout.unit)} only: too few for a verdict. ' if few else ''
        return (
            f'{said}Each model is one training run; the intervals say nothing about training again with another seed.'
        )

    def _main(self, run: Report) -> Column | None:
        return next((column for column in run.headline.columns if column.key == run.layout.main), None)

    def _headline(self) -> dict:
        columns = self._columns('')
        rows = []
        for name, run in self.runs.items():
            cells = []
            for column in columns:
                cell = _cell(run.number(run.headline, '', column), column)
                if name in self.others:
                    found = change(run, self.base, run.headline, '', column)
                    cell['change'], cell['sure'] = _changed(found)
                cells.append(cell)
            rows.append((_key(self.places[name], name), cells))
        return {'head': ['model', *(f'{column.title} {_ARROWS[column.better]}' for column in columns)], 'rows': rows}

    def _plot(self) -> dict | None:
        """Changes by condition, or their numbers where nothing is compared."""
        table = self.conditions
        if table is None:
            return None
        column, rows = table.columns[0], self._rows(table, linked=False)
        comparable = {name: run for name, run in self.others.items() if ran_the_same(run, self.base)}
        if comparable:
            found = {
                row: {self.places[name]: change(run, self.base, table, row, column) for name, run in comparable.items()}
                for row in rows
            }
            sign = 1 if column.better == 'lower' else -1
            found = dict(sorted(found.items(), key=lambda item: sign * (next(iter(item[1].values())).value or 0)))
            title = f'Change of {column.title} by {table.row.removesuffix("s")} against {self.reference}, in points'
            return _titled(page_charts.dots(found, 0.0), title)
        found = {
            row: {self.places[name]: self._with_interval(run, table, row, column) for name, run in self.runs.items()}
            for row in rows
        }
        clean = [run.first(run.layout.clean).value for run in self.runs.values() if run.layout.clean]
        line = clean[0] if len(clean) == 1 else None
        title = f'{column.title} by {table.row.removesuffix("s")}, worst first' + (
            '' if line is None else '; line: clean'
        )
        return _titled(page_charts.dots(found, line), title)

    # the parts below it

    def _sentences(self) -> Iterator[str]:
        """Each sentence once, and of which runs it is, unless it is of all."""
        said: dict[str, list[str]] = {}
        for name, run in self.runs.items():
            for sentence in run.layout.sentences:
                said.setdefault(sentence, []).append(name)
        for sentence, names in said.items():
            every = len(names) == len(self.runs)
            yield sentence if every else f'{sentence.removesuffix(".")} ({", ".join(names)}).'

    def _parts(self) -> Iterator[dict]:
        for table in self.layout.tables[1:]:
            if not self._rows(table):
                continue
            if table.role == 'grid':
                if len(self.levels) > 1:
                    yield self._curves(table)
                    yield self._maps(table)
                    yield self._map_changes(table)
            elif table.role == 'classes' and len(self._columns(table.section)) > _WIDE:
                yield self._class_maps(table)
                yield self._class_changes(table)
            elif table.role != 'severities' or len(self._rows(table)) > 1:
                yield self._numbers(table)
        yield self._published()

    def _numbers(self, table: Table) -> dict:
        """Every column of every run beside each other, and changes where they are known draw by draw."""
        several = len(self.runs) > 1
        columns = [
            column
            for column in self._columns(table.section)
            if not column.better or any(self._each(table, row, column) for row in self._rows(table))
        ]
        changes = table.columns[0] if table.role == 'conditions' else None
        against = {
            name: ratios(run, self.base, self.grid) if table.ratio and self.grid else {}
            for name, run in self.others.items()
        }
        head: list[Any] = [table.row]
        for column in columns:
            if not column.better:
                head.append(column.title)
                continue
            titled = f'{column.title} {_ARROWS[column.better]}'
            head += [{**_key(self.places[name], name), 'below': titled} for name in self.runs] if several else [titled]
            if column == changes:
                head += [{**_key(self.places[name], name), 'below': 'change'} for name in self.others]
        if table.ratio:
            head += [{**_key(self.places[name], name), 'below': table.ratio} for name in against]
        rows = []
        for row in self._rows(table):
            cells = []
            for column in columns:
                if not column.better:
                    found = [_text(run.number(table, row, column).value, 0) for run in self.runs.values()]
                    cells.append({'text': ' / '.join(dict.fromkeys(found))})
                    continue
                cells += [_cell(self._with_interval(run, table, row, column), column) for run in self.runs.values()]
                if column == changes:
                    cells += [_change_cell(change(run, self.base, table, row, column)) for run in self.others.values()]
            if table.ratio:
                cells += [{'text': _text(found.get(row))} for found in against.values()]
            rows.append((row + ' (extra, in no mean)' * (row in table.apart), cells))
        about = table.about
        if table.ratio and against:
            means = ', '.join(
                f'{_text(sum(found.values()) / len(found) if found else None)} of {name}'
                for name, found in against.items()
            )
            about += (
                f' {table.ratio}: 100 - {columns[0].title}, summed over severities and divided by that of '
                f'{self.reference}, in %; below 100 is better. Mean {table.ratio}: {means}.'
            )
        if table.role == 'severities' and self.grid is not None:
            held = self._held()
            rows = [(row, [{'text': str(len(held.get(row, ())))}, *cells]) for row, cells in rows]
            head.insert(1, f'{self.grid.row}s')
            if len({frozenset(names) for names in held.values()}) > 1:
                about += f' Not all {self.grid.row}s were run at each severity, so these means are not comparable.'
        return _part(table.title or f'By {table.row.removesuffix("s")}', about, [(None, {'head': head, 'rows': rows})])

    def _held(self) -> dict[str, set[str]]:
        """Severity, as in the results, to the conditions that were run at it."""
        held: dict[str, set[str]] = {}
        for run in self.runs.values():
            for name, level in map(Cell.of_key, run.own_rows(self.grid)):
                held.setdefault(str(level), set()).add(name)
        return held

    def _curves(self, table: Table) -> dict:
        column = table.columns[0]
        clean = {
            name: run.first(run.layout.clean).value if run.layout.clean else None for name, run in self.runs.items()
        }
        values = [value for _, value in self._cells(table)] + [value for value in clean.values() if value is not None]
        low, high = 10 * math.floor(min(values, default=0) / 10), 10 * math.ceil(max(values, default=0) / 10)
        charts = []
        for name in self._names(table):
            lines = {
                self.places[of]: {0: clean[of]}
                | {level: run.number(table, Cell(name, level).key, column).value for level in self.levels if level}
                for of, run in self.runs.items()
            }
            charts.append({'name': self._label(name), **page_charts.curves(lines, low, max(high, low + 10))})
        part = _part('Curves over severity', f'{column.title} from clean images, 0, to severity 5; one scale for all.')
        return part | {'charts': charts, 'what': column.title}

    def _maps(self, table: Table) -> dict:
        column = table.columns[0]
        values = [value for _, value in self._cells(table)] or [0.0]
        worst, best = (max(values), min(values)) if column.better == 'lower' else (min(values), max(values))
        tables = []
        for of, run in self.runs.items():
            rows = []
            for name in self._names(table):
                found = [run.number(table, Cell(name, level).key, column) for level in self.levels]
                mean = run.number(self.conditions, name, self.conditions.columns[0]).value if self.conditions else None
                cells = [_heat(number, worst, best) for number in found]
                rows.append((self._label(name), [*cells, {'text': _text(mean)}]))
            head = [table.row, *map(str, self.levels), 'mean']
            tables.append((_key(self.places[of], of), {'head': head, 'rows': rows}))
        about = f'{column.title}, darker is worse; the 95% interval of a cell appears under the pointer.'
        return _part(table.title, about, tables) | {'scale': page_charts.heat_scale(worst, best)}

    def _map_changes(self, table: Table) -> dict | None:
        column = table.columns[0]
        return self._changes(
            table.row,
            {
                self._label(name): [(table, Cell(name, level).key, column) for level in self.levels]
                for name in self._names(table)
            },
            [str(level) for level in self.levels],
            column,
        )

    def _class_maps(self, table: Table) -> dict:
        columns = self._columns(table.section)
        numbers = {
            name: {row: [run.number(table, row, column) for column in columns] for row in self._rows(table)}
            for name, run in self.runs.items()
        }
        values = [number.value for rows in numbers.values() for row in rows.values() for number in row]
        values = [value for value in values if value is not None] or [0.0]
        tables = []
        for name, rows in numbers.items():
            cells = [(row, [_heat(number, min(values), max(values)) for number in of]) for row, of in rows.items()]
            head = [table.row, *(column.title for column in columns)]
            tables.append((_key(self.places[name], name), {'head': head, 'rows': cells}))
        scale = page_charts.heat_scale(min(values), max(values))
        return _part(table.title, f'{table.about} Darker is worse.', tables) | {'scale': scale}

    def _class_changes(self, table: Table) -> dict | None:
        columns = self._columns(table.section)
        rows = {row: [(table, row, column) for column in columns] for row in self._rows(table)}
        return self._changes(table.row, rows, [column.title for column in columns], columns[0])

    def _changes(
        self, what: str, rows: Mapping[str, Sequence[tuple]], head: Sequence[str], column: Column
    ) -> dict | None:
        """Coloured changes of each run that ran the same as the reference."""
        comparable = {name: run for name, run in self.others.items() if ran_the_same(run, self.base)}
        if not comparable:
            return None
        gaps = {
            name: {row: [change(run, self.base, *at).value for at in of] for row, of in rows.items()}
            for name, run in comparable.items()
        }
        sizes = [abs(gap) for of in gaps.values() for row in of.values() for gap in row if gap is not None]
        tables = []
        for name, of in gaps.items():
            cells = [
                (row, [_difference(gap, max(sizes, default=0.0), column) for gap in row_gaps])
                for row, row_gaps in of.items()
            ]
            tables.append((_key(self.places[name], name), {'head': [what, *head], 'rows': cells}))
        better, worse = '-+' if column.better == 'lower' else '+-'
        about = f'In points. Green and {better}: better than the reference; purple and {worse}: worse.'
        return _part(f'Change against {self.reference}, by {what}', about, tables)

    def _published(self) -> dict | None:
        """Printed numbers beside those runs that may stand there."""
        shown = {name: run for name, run in self.runs.items() if run.layout.published is not None}
        if not shown:
            return None
        found = next(iter(shown.values())).layout.published
        if any(run.layout.published != found for run in shown.values()):
            return None
        table = next((table for table in self.layout.tables if table.section == found.section), None)
        column = table and next((column for column in table.columns if column.key == found.column), None)
        if column is None:
            return None
        key, mean = found.overall
        head = [table.row]
        head += [{**_key(self.places[name], name), 'below': f'{column.title} (measured)'} for name in shown]
        head += [{'text': f'{model} (published)', 'published': True} for model in found.models]
        rows = []
        names = [row for row in self._rows(table) if all(row in printed for printed in found.models.values())]
        for row in [*names, mean]:
            numbers = [run.first(key) if row == mean else run.number(table, row, column) for run in shown.values()]
            printed = [{'text': of.get(row, DASH), 'published': True} for of in found.models.values()]
            rows.append((row, [*({'text': _text(number.value)} for number in numbers), *printed]))
        about = (
            f'The shaded columns are those of the {found.source}, as printed: {found.about} They were not measured '
            'here, and compare with the other columns only if those are of the same images.'
        )
        return _part('Published, not measured here', about, [(None, {'head': head, 'rows': rows})])

    def _cases(self) -> tuple[list[dict], list[tuple[dict, list[dict]]]]:
        """The worst images of the worst conditions, and all others by run."""
        every = [
            (name, {'run': _key(self.places[name], name), **_case(case)})
            for name, run in self.runs.items()
            for case in run.worst or ()
        ]
        pictured = [case for _, case in every if case['panels']]
        worst = [] if self.conditions is None else self._rows(self.conditions, linked=False)
        first = [next((case for case in pictured if case['condition'] == row), None) for row in worst]
        top = [case for case in first if case is not None][:_TOP] or pictured[:_TOP]
        more = [
            (
                _key(self.places[name], name),
                [case for of, case in every if of == name and not any(case is one for one in top)],
            )
            for name in self.runs
        ]
        return top, [(key, cases) for key, cases in more if cases]

    def _colors(self) -> list[tuple[str, str]]:
        """Class and colour of the panels.

        Raises:
            ValueError: a colour is none.
        """
        run = next((run for run in self.runs.values() if run.palette), None)
        colors = []
        for name, color in zip(run.classes, run.palette, strict=False) if run else ():
            values = list(color) if isinstance(color, Sequence) else []
            if len(values) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in values):
                raise ValueError(f'the colour of {name} must be three numbers from 0 to 255, got {str(color)[:80]}')
            colors.append((name, 'background:rgb({},{},{})'.format(*values)))
        return colors

    def _provenance(self) -> dict:
        found = [dict(_flat(run.provenance)) for run in self.runs.values()]
        names = dict.fromkeys(name for values in found for name in values)
        rows = [(name, [values.get(name, (None, DASH)) for values in found]) for name in names]
        return {'keys': [_key(self.places[name], name) for name in self.runs], 'rows': rows}

    # numbers

    def _columns(self, section: str) -> list[Column]:
        """Columns of a table in any of the runs; of two that ran other conditions the columns may differ."""
        tables = [table for run in self.runs.values() for table in run.layout.tables if table.section == section]
        return list({column.key: column for table in tables for column in table.columns}.values())

    def _rows(self, table: Table, linked: bool = True) -> list[str]:
        """Rows of a table in any of the runs, by harm, those that are in no mean last."""
        names = list(dict.fromkeys(row for run in self.runs.values() for row in run.own_rows(table)))
        if table.role not in ('grid', 'severities'):
            column = table.columns[-1 if table.role == 'classes' else 0]
            sign = -1 if column.better == 'lower' else 1
            means = {row: self._mean(table, row, column) for row in names}
            names.sort(key=lambda row: (row in table.apart, means[row] is None, sign * (means[row] or 0)))
        if not linked:
            return names
        return [row for row, _ in table.before] + names + [row for row, _ in table.after]

    def _names(self, table: Table) -> list[str]:
        """Conditions of a grid, by harm."""
        found = dict.fromkeys(Cell.of_key(row).name for row in self._rows(table, linked=False))
        ordered = [] if self.conditions is None else self._rows(self.conditions, linked=False)
        return [name for name in ordered if name in found] + [name for name in found if name not in ordered]

    def _label(self, name: str) -> str:
        apart = self.conditions is not None and name in self.conditions.apart
        return f'{name} (extra)' if apart else name

    def _each(self, table: Table, row: str, column: Column) -> list[float]:
        found = [run.number(table, row, column).value for run in self.runs.values()]
        return [value for value in found if value is not None]

    def _mean(self, table: Table, row: str, column: Column) -> float | None:
        values = self._each(table, row, column)
        return sum(values) / len(values) if values else None

    def _cells(self, table: Table) -> list[tuple[str, float]]:
        rows = self._rows(table, linked=False)
        return [(row, value) for row in rows for value in self._each(table, row, table.columns[0])]

    def _with_interval(self, run: Report, table: Table, row: str, column: Column) -> Number:
        """A number; of a condition that was run at one severity, with the interval of that cell."""
        number = run.number(table, row, column)
        if number.low is None and table is self.conditions and self.grid and len(self.levels) == 1:
            cell = run.number(self.grid, Cell(row, self.levels[0]).key, self.grid.columns[0])
            if cell.value == number.value:
                return cell
        return number


def _key(place: int, name: str) -> dict:
    return {'style': page_charts.style_of(place), 'name': name}


def _part(title: str, about: str, tables: Sequence = ()) -> dict:
    return {'title': title, 'about': about, 'tables': tables, 'charts': [], 'scale': None, 'what': ''}


def _titled(plot: dict | None, title: str) -> dict | None:
    return plot and {**plot, 'title': title}


def _counted(number: int, what: str) -> str:
    return f'{number:,} {what}' + ('' if number == 1 else 's')


def _text(value: float | None, decimals: int = 2) -> str:
    return DASH if value is None else f'{value:.{decimals}f}'


def _plus(value: float, decimals: int = 2) -> str:
    """With its sign, except for what rounds to 0."""
    text = f'{value:+.{decimals}f}'
    return text[1:] if float(text) == 0 else text


def _ends(number: Number) -> str:
    return f'{number.low:.2f} to {number.high:.2f}'


def _signed(number: Number) -> str:
    if number.value is None:
        return DASH
    return _plus(number.value) + ('' if number.low is None else f' ({_plus(number.low)} to {_plus(number.high)})')


def _improved(number: Number, column: Column) -> bool:
    return (number.value < 0) == (column.better == 'lower')


def _judged(number: Number, column: Column) -> str:
    if not is_significant(number):
        return 'no significant difference'
    return f'significantly {"better" if _improved(number, column) else "worse"} on these images'


def _among(word: str, found: Mapping[str, Number]) -> str:
    """How many conditions are significantly better, or worse, and the first of them."""
    if not found:
        return f'none significantly {word}'
    largest = sorted(found, key=lambda row: -abs(found[row].value))[:_TOP]
    listed = ', '.join(f'{row} {_plus(found[row].value)}' for row in largest)
    return f'{len(found)} significantly {word} ({listed}{", ..." if len(found) > len(largest) else ""})'


def _cell(number: Number, column: Column) -> dict:
    return {'text': _text(number.value, column.decimals), 'under': '' if number.low is None else _ends(number)}


def _changed(number: Number) -> tuple[str, bool]:
    return ('' if number.value is None else _signed(number)), is_significant(number)


def _change_cell(number: Number) -> dict:
    if number.value is None:
        return {'text': DASH}
    under = '' if number.low is None else f'{_plus(number.low)} to {_plus(number.high)}'
    return {'text': _plus(number.value), 'under': under, 'sure': is_significant(number)}


def _heat(number: Number, worst: float, best: float) -> dict:
    if number.value is None:
        return {'text': DASH}
    hint = '' if number.low is None else f'{number.value:.2f} ({_ends(number)})'
    return {'text': f'{number.value:.1f}', 'style': page_charts.heat(number.value, worst, best), 'hint': hint}


def _difference(gap: float | None, largest: float, column: Column) -> dict:
    if gap is None:
        return {'text': DASH}
    return {'text': _plus(gap, 1), 'style': page_charts.difference(gap, largest, column.better)}


def _case(case: Mapping[str, Any]) -> dict:
    cell = str(case.get('cell'))
    of = f'{case.get("picture")}, {cell}'
    panels = [
        {
            'title': title,
            'alt': f'{title}: {of}',
            'src': f'data:{media_type(content, f"{title}: {of}")};base64,{base64.b64encode(content).decode()}',
        }
        for title, content in (case.get('panels') or {}).items()
    ]
    return {
        'cell': cell,
        'condition': Cell.of_key(cell).name,
        'image': str(case.get('picture')),
        'miou': _text(finite(case.get('mIoU'))),
        'panels': panels,
    }


def _flat(values: Mapping, prefix: str = '') -> Iterator[tuple[str, tuple[str | None, str]]]:
    """Nested provenance as rows, each a summary, if the text is long, and the text."""
    for name, value in values.items():
        if name == 'merged_config':
            yield prefix + name, ('shown', json.dumps(value, indent=1))
        elif isinstance(value, Mapping):
            yield from _flat(value, f'{prefix}{name} / ')
        elif isinstance(value, list):
            yield prefix + name, (str(len(value)), ', '.join(map(str, value)))
        else:
            yield prefix + name, (None, DASH if value is None else str(value))
