"""Reports of one or several models as one HTML page: what it shows is decided here, how it looks in the template."""

import base64
import functools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from mmrobust.evaluation import page_charts, verdict
from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.comparison import (
    change,
    correlations,
    is_significant,
    protocol_differences,
    ran_the_same,
    ratios,
)
from mmrobust.evaluation.report import Column, Curve, Number, Published, Report, Table, at, finite
from mmrobust.evaluation.statistics import FEWEST_MODELS, RankCorrelation
from mmrobust.evaluation.verdict import DASH, ends, listed, plus, shown, signed
from mmrobust.evaluation.worst import media_type
from mmrobust.registry import BENCHMARKS

_TOP = 3  # worst images at the top
_WIDE = 3  # columns of a table by class that are not shown as a map of colours
_OF_MODEL = ('prediction', 'errors')  # panels that differ from model to model
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
        both = ' and '.join(f'{kind} on {name}' for kind, name in kinds.items())
        raise ValueError(f'a page is of segmentation or of classification, not of both, got {both}')
    places = {name: place for place, name in enumerate(reports)}
    if reference is not None and reference not in places:
        raise ValueError(f'the reference must be one of {", ".join(places)}, got {reference!r}')
    sections = [_Section(runs, places, reference).shown() for runs in benchmarks.values()]
    return _template().render(
        title=title or f'{next(iter(kinds)).capitalize()} robustness',
        differences='; '.join(protocol_differences(benchmarks)),
        sections=sections,
        correlations=_correlations(correlations(benchmarks)),
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
    """Section of the page for one benchmark.

    Args:
        runs: its runs.
        places: name of a run to its place on the page, from 0, of all benchmarks together: it decides colour and
            marker, so that a run looks the same everywhere.
        reference: the run that changes are against.
    """

    def __init__(self, runs: Runs, places: Mapping[str, int], reference: str | None) -> None:
        self.runs = runs
        self.keys = {name: _key(places[name], name) for name in runs}
        self.reference = reference if reference in runs else None
        self.base = runs.get(reference) if reference is not None else None
        self.others = {name: run for name, run in runs.items() if self.base is not None and name != reference}
        self.comparable = {name: run for name, run in self.others.items() if ran_the_same(run, self.base)}
        self.layout = next(iter(runs.values())).layout
        self.conditions = self.layout.table('conditions')
        self.grid = self.layout.table('grid')
        cells = [Cell.of_key(key) for run in runs.values() for key in (run.own_rows(self.grid) if self.grid else ())]
        self.held = {level: {cell.name for cell in cells if cell.severity == level} for _, level in sorted(cells)}
        self.levels = sorted(self.held)

    def shown(self) -> dict[str, Any]:
        """Everything, for the template."""
        top, more = self._cases()
        return {
            'title': ' / '.join(dict.fromkeys(run.layout.title for run in self.runs.values())),
            'about': self.layout.about,
            'facts': ' \N{MIDDLE DOT} '.join(verdict.facts(self.runs, self.held)),
            'verdict': list(verdict.verdict(self.runs, self.reference)),
            'warning': verdict.warning(self.runs),
            'sentences': list(self._sentences()),
            'headline': self._headline(),
            'plot': None if self.conditions is None else self._plot(self.conditions),
            'top': top,
            'parts': list(self._parts()),
            'cases': more,
            'ranked': any(run.setting('worst_of') is None for run in self.runs.values()),
            'colors': self._colors() if top or any(case['panels'] for _, of in more for case in of) else [],
            'keys': list(self.keys.values()),
            'provenance': self._provenance(),
        }

    def _headline(self) -> dict:
        columns = self._columns('')
        rows = []
        for name, run in self.runs.items():
            cells = [_cell(run.number(run.headline, '', column), column) for column in columns]
            for cell, column in zip(cells, columns, strict=True):
                found = change(run, self.base, run.headline, '', column) if name in self.others else Number()
                if found.value is not None:
                    cell |= {'change': signed(found), 'sure': is_significant(found)}
            rows.append((self.keys[name], cells))
        return {'head': ['model', *map(_titled, columns)], 'rows': rows}

    def _plot(self, table: Table) -> dict | None:
        """Changes by condition, or their numbers where nothing is compared."""
        column, rows = table.columns[0], self._rows(table, linked=False)
        if self.comparable:
            runs = [(self.keys[name], run) for name, run in self.comparable.items()]
            found = {row: [(key, change(run, self.base, table, row, column)) for key, run in runs] for row in rows}
            sign = 1 if column.better == 'lower' else -1
            found = dict(sorted(found.items(), key=lambda item: sign * (item[1][0][1].value or 0)))
            return page_charts.dots(found, 0.0, f'Change of {column.title} against {self.reference}, in points')
        runs = [(self.keys[name], run) for name, run in self.runs.items()]
        found = {row: [(key, self._with_interval(run, table, row, column)) for key, run in runs] for row in rows}
        clean = [run.first(run.layout.clean).value for run in self.runs.values() if run.layout.clean]
        line = clean[0] if len(clean) == 1 else None
        return page_charts.dots(found, line, f'{column.title}, worst first' + ('' if line is None else '; line: clean'))

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
            rows, columns = self._rows(table), self._columns(table.section)
            if table.role == 'grid':
                if len(self.levels) > 1:
                    column = table.columns[0]
                    places = {
                        self._label(name): [(Cell(name, level).key, column) for level in self.levels]
                        for name in self._names(table)
                    }
                    yield self._curves(table, column)
                    yield from self._maps(table, places, self.levels, column)
            elif table.role == 'classes' and len(columns) > _WIDE:
                places = {row: [(row, column) for column in columns] for row in rows}
                yield from self._maps(table, places, [column.title for column in columns], columns[0])
            elif len(rows) > (table.role == 'severities'):
                yield self._numbers(table, rows, columns)
        for curve in dict.fromkeys(curve for run in self.runs.values() for curve in run.layout.curves):
            yield from self._drawn(curve)
        found = next((run.layout.published for run in self.runs.values() if run.layout.published is not None), None)
        table = next((table for table in self.layout.tables if found and table.section == found.section), None)
        if table is not None:
            yield self._published(found, table)

    def _numbers(self, table: Table, rows: Sequence[str], columns: Sequence[Column]) -> dict:
        """Every column of every run beside each other, and changes of the conditions."""
        counts = [column for column in columns if not column.better]
        columns = [
            column
            for column in columns
            if column.better and any(verdict.values_of(self.runs, table, row, column) for row in rows)
        ]
        changes = self.others if table.role == 'conditions' else {}
        against = (
            {name: ratios(run, self.base, self.grid) for name, run in self.others.items()}
            if table.ratio and self.grid
            else {}
        )
        head, filled = [table.row], {row: [] for row in rows}
        for column in columns:
            head += self._heads(self.runs, _titled(column)) if len(self.runs) > 1 else [_titled(column)]
            for row, cells in filled.items():
                cells += [_cell(self._with_interval(run, table, row, column), column) for run in self.runs.values()]
            if column is columns[0]:
                head += self._heads(changes, 'change')
                for row, cells in filled.items():
                    cells += [_change(change(run, self.base, table, row, column)) for run in changes.values()]
        head += [*self._heads(against, table.ratio), *(column.title for column in counts)]
        for row, cells in filled.items():
            cells += [{'text': shown(found.get(row))} for found in against.values()]
            for column in counts:  # the same for all runs, mostly
                found = [shown(run.number(table, row, column).value, column.decimals) for run in self.runs.values()]
                cells.append({'text': ' / '.join(dict.fromkeys(found))})
        about = table.about
        if against:
            means = [f'{shown(verdict.mean(found.values()))} of {name}' for name, found in against.items()]
            about += (
                f' {table.ratio}: 100 - {columns[0].title}, summed over severities and divided by that of '
                f'{self.reference}, in %; below 100 is better. Mean {table.ratio}: {", ".join(means)}.'
            )
        if table.role == 'severities' and self.grid:
            what = f'{self.grid.row}s'
            head.append(what)
            for row, cells in filled.items():
                cells.append({'text': str(sum(len(names) for level, names in self.held.items() if str(level) == row))})
            if len(set(map(frozenset, self.held.values()))) > 1:
                about += f' Not all {what} were run at each severity, so these means are not comparable.'
        labelled = [(row + ' (extra, in no mean)' * (row in table.apart), cells) for row, cells in filled.items()]
        tables = [(None, dict(head=head, rows=labelled))]
        return dict(title=table.title or f'By {table.row}', about=about, tables=tables)

    def _curves(self, table: Table, column: Column) -> dict:
        clean = {name: run.first(run.layout.clean).value for name, run in self.runs.items()}
        rows = self._rows(table, linked=False)
        values = [value for row in rows for value in verdict.values_of(self.runs, table, row, column)]
        values += [value for value in clean.values() if value is not None]
        low, high = 10 * math.floor(min(values, default=0) / 10), 10 * math.ceil(max(values, default=0) / 10)
        charts = []
        for name in self._names(table):
            lines = []
            for of, run in self.runs.items():
                found = {level: run.number(table, Cell(name, level).key, column).value for level in self.levels}
                lines.append((self.keys[of], {0: clean[of]} | found))
            charts.append(page_charts.curves(self._label(name), lines, low, max(high, low + 10)))
        about = f'{column.title} on clean images, at 0, and at severity {listed(self.levels)}; one scale for all.'
        return dict(title='Curves over severity', about=about, charts=charts, what=column.title, by='severity')

    def _drawn(self, curve: Curve) -> Iterator[dict]:
        """A curve of every condition that has one, in the order of the first run."""
        rows = dict.fromkeys(row for run in self.runs.values() for row in at(run.results, curve.section) or ())
        lines = {
            str(row): [(self.keys[name], run.points(curve, row)) for name, run in self.runs.items()] for row in rows
        }
        if any(line for row in lines.values() for _, line in row):
            charts = [
                page_charts.curves(name, line, 0, 100, range(0, 101, 20), curve.diagonal)
                for name, line in lines.items()
            ]
            yield dict(title=curve.title, about=curve.about, charts=charts, what=curve.y.title, by=curve.x.title)

    def _maps(
        self, table: Table, places: Mapping[str, Sequence[tuple[str, Column]]], head: Sequence[Any], column: Column
    ) -> Iterator[dict]:
        """Numbers of each run in colours, and their changes.

        Args:
            table: of the numbers.
            places: label of a row to where in the table its numbers are.
            head: titles of the columns.
            column: says what is better.
        """
        head = [table.row, *map(str, head)]
        found = {
            name: {label: [run.number(table, *at) for at in row] for label, row in places.items()}
            for name, run in self.runs.items()
        }
        worst, best = _range(found, column)
        tables = self._tables(found, head, lambda one: _heat(one, worst, best))
        about = f'{table.about} Darker is worse; a 95% interval, where there is one, appears under the pointer.'
        yield dict(title=table.title, about=about, tables=tables, scale=page_charts.heat_scale(worst, best))
        if not self.comparable:
            return
        gaps = {
            name: {label: [change(run, self.base, table, *at) for at in row] for label, row in places.items()}
            for name, run in self.comparable.items()
        }
        largest = max(map(abs, _range(gaps, column)))
        tables = self._tables(gaps, head, lambda one: _gap(one, largest, column))
        better, worse = '-+' if column.better == 'lower' else '+-'
        about = f'In points. Green and {better}: better than the reference; purple and {worse}: worse.'
        yield dict(title=f'Change against {self.reference}, by {table.row}', about=about, tables=tables)

    def _tables(
        self, found: Mapping[str, Mapping[str, Sequence[Number]]], head: list[str], cell: Callable[[Number], dict]
    ) -> list[tuple[dict, dict]]:
        """A table for each run."""
        return [
            (self.keys[name], {'head': head, 'rows': [(row, list(map(cell, of))) for row, of in rows.items()]})
            for name, rows in found.items()
        ]

    def _published(self, published: Published, table: Table) -> dict:
        """Printed numbers beside those runs that may stand there."""
        runs = {name: run for name, run in self.runs.items() if run.layout.published == published}
        column = next((column for column in table.columns if column.key == published.column), table.columns[0])
        key, mean = published.overall
        head = [table.row, *self._heads(runs, f'{column.title} (measured)')]
        head += [{'text': f'{model} (published)', 'published': True} for model in published.models]
        names = [row for row in self._rows(table) if all(row in printed for printed in published.models.values())]
        rows = []
        for row in [*names, mean]:
            numbers = [run.first(key) if row == mean else run.number(table, row, column) for run in runs.values()]
            printed = [{'text': of.get(row, DASH), 'published': True} for of in published.models.values()]
            rows.append((row, [*({'text': shown(number.value)} for number in numbers), *printed]))
        about = (
            f'The shaded columns are those of the {published.source}, as printed: {published.about} They were not '
            'measured here, and compare with the other columns only if those are of the same images.'
        )
        return dict(title='Published, not measured here', about=about, tables=[(None, dict(head=head, rows=rows))])

    def _cases(self) -> tuple[list[dict], list[tuple[dict, list[dict]]]]:
        """The worst images of the worst conditions, and all others: those of all runs together, or by run."""
        cases = {name: [_case(case, self.keys[name]) for case in run.worst or ()] for name, run in self.runs.items()}
        together, cases = _together(cases) if len(cases) > 1 else ([], cases)
        imaged = [case for of in (together, *cases.values()) for case in of if case['panels']]
        worst = self._rows(self.conditions, linked=False) if self.conditions else []
        first = [next((case for case in imaged if case['condition'] == row), None) for row in worst]
        top = [case for case in first if case is not None][:_TOP] or imaged[:_TOP]
        groups = [(None, together), *((self.keys[name], of) for name, of in cases.items())]
        left = [(key, [case for case in of if not any(case is one for one in top)]) for key, of in groups]
        return top, [(key, of) for key, of in left if of]

    def _colors(self) -> list[tuple[str, str]]:
        """Class and colour of the panels.

        Raises:
            ValueError: a colour is none.
        """
        pairs = [pair for run in self.runs.values() for pair in zip(run.classes, run.palette, strict=False)]
        colors = []
        for name, color in pairs:
            values = list(color) if isinstance(color, Sequence) else []
            if len(values) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in values):
                raise ValueError(f'the colour of {name} must be three numbers from 0 to 255, got {str(color)[:80]}')
            colors.append((name, 'background:rgb({},{},{})'.format(*values)))
        return list(dict.fromkeys(colors))  # each once, where runs have the same

    def _provenance(self) -> list[tuple[str, list[tuple[str | None, str]]]]:
        found = [dict(_flat(run.provenance)) for run in self.runs.values()]
        names = dict.fromkeys(name for values in found for name in values)
        return [(name, [values.get(name, (None, DASH)) for values in found]) for name in names]

    def _heads(self, names: Iterable[str], below: str) -> list[dict]:
        """Headings of columns: each run, and below it what its numbers are."""
        return [{**self.keys[name], 'below': below} for name in names]

    def _columns(self, section: str) -> list[Column]:
        """Columns of a table in any of the runs; of two that ran other conditions the columns may differ."""
        tables = [table for run in self.runs.values() for table in run.layout.tables if table.section == section]
        return list({column.key: column for table in tables for column in table.columns}.values())

    def _rows(self, table: Table, linked: bool = True) -> list[str]:
        names = verdict.rows_by_harm(self.runs, table)
        return [*(row for row, _ in table.before), *names, *(row for row, _ in table.after)] if linked else names

    def _names(self, table: Table) -> list[str]:
        """Conditions of a grid, by harm."""
        found = dict.fromkeys(Cell.of_key(row).name for row in self._rows(table, linked=False))
        ordered = self._rows(self.conditions, linked=False) if self.conditions else []
        return [*(name for name in ordered if name in found), *(name for name in found if name not in ordered)]

    def _label(self, name: str) -> str:
        return f'{name} (extra)' if self.conditions and name in self.conditions.apart else name

    def _with_interval(self, run: Report, table: Table, row: str, column: Column) -> Number:
        """A number; of a condition that was run at one severity, with the interval of that cell."""
        number = run.number(table, row, column)
        if number.low is None and table is self.conditions and self.grid and len(self.levels) == 1:
            cell = run.number(self.grid, Cell(row, self.levels[0]).key, self.grid.columns[0])
            return cell if cell.value == number.value else number
        return number


def _correlations(found: tuple | None) -> dict | None:
    """Rank correlations of synthetic with real conditions, for the template."""
    if found is None:
        return None
    names, *tables = found
    about = f'Of {len(names)} models with results on both Cityscapes-C and ACDC: {", ".join(names)}.'
    if len(names) < FEWEST_MODELS:
        few = f'Too few models for a rank correlation: {len(names)}, and it takes {FEWEST_MODELS} at least.'
        return {'about': [about, few], 'parts': []}
    said = (
        'How far a corruption puts these models in the order that a real condition does: 1 is the same order, 0 none, '
        '-1 the reverse. Below a number is its 95% interval, bootstrap over models; it is wide for few models, and '
        'says nothing about models of another kind.'
    )
    parts = []
    for what, rows in zip(('corruption', 'corruption and severity'), tables, strict=True):
        for kind, title in (('spearman', "Spearman's rho"), ('kendall', "Kendall's tau-b")):
            shown_rows = [(row, [_coefficient(of, kind) for of in columns.values()]) for row, columns in rows.items()]
            table = {'head': ['', *next(iter(rows.values()), {})], 'rows': shown_rows}
            parts.append({'title': f'{title}, by {what}', 'table': table, 'folded': rows is tables[1]})
    return {'about': [about, said], 'parts': parts}


def _coefficient(found: RankCorrelation, kind: str) -> dict:
    number = Number(getattr(found, kind), *getattr(found, f'{kind}_interval'))
    return {'text': plus(number.value), 'under': ends(number, plus)}


def _key(place: int, name: str) -> dict:
    return {'style': page_charts.style_of(place), 'name': name}


def _titled(column: Column) -> str:
    return f'{column.title} {_ARROWS[column.better]}'


def _range(found: Mapping[str, Mapping[str, Sequence[Number]]], column: Column) -> tuple[float, float]:
    """The worst and the best of many numbers."""
    values = [one.value for rows in found.values() for row in rows.values() for one in row if one.value is not None]
    ends = min(values, default=0.0), max(values, default=0.0)
    return ends[::-1] if column.better == 'lower' else ends


def _cell(number: Number, column: Column) -> dict:
    return {'text': shown(number.value, column.decimals), 'under': ends(number)}


def _change(number: Number) -> dict:
    return {'text': plus(number.value), 'under': ends(number, plus), 'sure': is_significant(number)}


def _heat(number: Number, worst: float, best: float) -> dict:
    if number.value is None:
        return {'text': DASH}
    hint = ends(number, around=f'{number.value:.2f} ({{}})')
    return {'text': shown(number.value, 1), 'style': page_charts.heat(number.value, worst, best), 'hint': hint}


def _gap(number: Number, largest: float, column: Column) -> dict:
    if number.value is None:
        return {'text': DASH}
    return {'text': plus(number.value, 1), 'style': page_charts.difference(number.value, largest, column.better)}


def _case(case: Mapping[str, Any], run: dict) -> dict:
    cell = str(case.get('cell'))
    panels = []
    for title, content in (case.get('panels') or {}).items():
        alt = f'{title}: {case.get("image")}, {cell}'
        src = f'data:{media_type(content, alt)};base64,{base64.b64encode(content).decode()}'
        panels.append({'title': title, 'alt': alt, 'src': src})
    return {
        'run': run,
        'cell': cell,
        'condition': Cell.of_key(cell).name,
        'image': str(case.get('image')),
        'scores': [(run, shown(finite(case.get('mIoU'))))],
        'panels': panels,
    }


def _together(cases: Mapping[str, list[dict]]) -> tuple[list[dict], dict[str, list[dict]]]:
    """Cases that all runs show, each with the predictions of all of them; and those that are left of each run."""
    places = [{(case['cell'], case['image']): case for case in of if case['panels']} for of in cases.values()]
    shared = [place for place in places[0] if all(place in of for of in places)]
    merged = []
    for place in shared:
        own, *others = (of[place] for of in places)
        common = [panel for panel in own['panels'] if panel['title'] not in _OF_MODEL]
        by_run = [
            {**panel, 'run': case['run'], 'first': case is own}
            for title in _OF_MODEL
            for case in (own, *others)
            for panel in case['panels']
            if panel['title'] == title
        ]
        scores = [score for case in (own, *others) for score in case['scores']]
        merged.append({**own, 'run': None, 'scores': scores, 'panels': common + by_run})
    left = {name: [case for case in of if (case['cell'], case['image']) not in shared] for name, of in cases.items()}
    return merged, left


def _flat(values: Mapping, prefix: str = '') -> Iterator[tuple[str, tuple[str | None, str]]]:
    """Nested provenance as rows: what to show of a text that is folded, None for a short one, and the text."""
    for name, value in values.items():
        if name == 'merged_config':
            yield prefix + name, ('shown', json.dumps(value, indent=1))
        elif isinstance(value, Mapping):
            yield from _flat(value, f'{prefix}{name} / ')
        elif isinstance(value, list):
            yield prefix + name, (str(len(value)), ', '.join(map(str, value)))
        else:
            yield prefix + name, (None, DASH if value is None else str(value))
