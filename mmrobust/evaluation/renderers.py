"""Renders a report as CSV, Markdown and in a terminal. The HTML page is ``results_page.py``."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.report import Column, Number, Report, Table, shown


def as_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Comma-separated lines, numbers unrounded, None empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([header, *rows])
    return text.getvalue()


def to_csv(report: Report) -> str:
    """One line for each row of the report's finest table: numbers unrounded, and the ends of their intervals."""
    (table,) = (table for table in report.layout.tables if table.csv_row)
    columns = [column for column in table.columns if column.csv]
    rows = []
    for row in report.rows(table):
        values = [value for column in columns for value in _exact(report.number(table, row, column), column)]
        rows.append([*(Cell.of_key(row) if len(table.csv_row) > 1 else [row]), *values])
    return as_csv([*table.csv_row, *(name for column in columns for name in column.csv)], rows)


def to_markdown(report: Report, title: str) -> str:
    """The numbers as a page, headline first; below them published ones, labelled so, where they may stand there."""
    lines = [f'# {title}', '', ' '.join([report.layout.about, *report.layout.sentences])]
    for table in report.layout.tables:
        if table.markdown:
            lines += ['', *([f'## {table.title}'] if table.title else []), *_table(report, table)]
    published = report.layout.published
    if published is not None:
        overall, name = published.overall
        heading = next(column.title for column in report.headline.columns if column.key == overall)
        lines += ['', f'## Published ({published.source}), not measured here', f'| model | {heading} |', '|---|---:|']
        lines += [f'| {model} | {rows[name]} |' for model, rows in published.models.items()]
    return '\n'.join(lines) + '\n'


def to_terminal(report: Report, title: str) -> str:
    """Terminal output: title, meaning of the numbers, first table, what else to know of this run."""
    first = next(table for table in report.layout.tables if table.markdown)
    said = ['', *report.layout.sentences] if report.layout.sentences else []
    return '\n'.join([f'# {title}', '', report.layout.about, '', *_table(report, first), *said])


def shown_interval(number: Number, decimals: int = 2) -> str:
    """Both ends of an interval, or a dash."""
    return '-' if number.low is None else f'{number.low:.{decimals}f} to {number.high:.{decimals}f}'


def _exact(number: Number, column: Column) -> list[float | int | None]:
    value = int(number.value) if column.decimals == 0 and number.value is not None else number.value
    return [value, number.low, number.high][: len(column.csv)]


def _table(report: Report, table: Table) -> Iterator[str]:
    columns = [column for column in table.columns if column.markdown]
    header = [table.heading or table.row] if table.section else []
    for column in columns:
        header += [column.title, 'interval'] if column.interval == 'column' else [column.title]
    yield f'| {" | ".join(header)} |'
    yield ('|---' if table.section else '') + '|---:' * (len(header) - bool(table.section)) + '|'
    for row in report.rows(table):
        cells = [row + ' (extra, in no mean)' * (row in table.apart)] if table.section else []
        for column in columns:
            number = report.number(table, row, column)
            text = shown(number.value, column.decimals)
            if column.interval == 'inline' and number.low is not None:
                text += f' ({shown_interval(number)})'
            cells += [text, shown_interval(number)] if column.interval == 'column' else [text]
        yield f'| {" | ".join(cells)} |'
