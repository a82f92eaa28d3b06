"""Compares reports on the same benchmark: changes with paired intervals, differences of protocol."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmrobust.evaluation.cells import ASSUMED, Cell
from mmrobust.evaluation.report import Column, Number, Report, Table, at
from mmrobust.evaluation.statistics import RankCorrelation, corruption_degradation, interval, rank_correlation

SYNTHETIC, REAL = 'cityscapes-c', 'acdc'  # corruptions that are drawn, and conditions that are photographed


def change(report: Report, base: Report, table: Table, row: str, column: Column) -> Number:
    """By how much a number is above that of another run.

    Its interval is over bootstrap samples, each of the same images for both; there is none unless both have as many
    finite samples of images of the same names and, if that is recorded, the same content. There is no number where a
    run has none, or of the headline where the two did not run the same, or where a setting that the number depends on
    differs.
    """
    value, of_base = (one.number(table, row, column).value for one in (report, base))
    other = column.same and report.setting(column.same) != base.setting(column.same)
    if value is None or of_base is None or other or (not table.section and not _is_single(column, report, base)):
        return Number()
    other = _unfolded('', {of: run.setting('images_sha256') for of, run in enumerate((report, base))}).values()
    other = any(None not in pair.values() and len(set(map(str, pair.values()))) > 1 for pair in other)
    draws, of_draws = (one.draws(table, row, column) for one in (report, base))
    return Number(value - of_base) if other else paired(value, draws, of_base, of_draws)


def paired(value: float, draws: tuple, base: float, of_base: tuple) -> Number:
    """Difference of two numbers, with an interval if their ``Report.draws`` are of the same images and all finite."""
    (images, units, samples), (same, _, of_samples) = draws, of_base
    if not images or images != same or not samples or len(samples) != len(of_samples) or None in samples + of_samples:
        return Number(value - base)
    return Number(value - base, *interval(np.subtract(samples, of_samples), units))


def is_significant(number: Number) -> bool:
    """Whether 0 lies outside the interval of a change."""
    return number.low is not None and (number.low > 0 or number.high < 0)


def ran_the_same(report: Report, base: Report) -> bool:
    """Whether two runs are of the same cells."""
    return set(report.own_rows(report.ran)) == set(base.own_rows(base.ran))


def ratios(report: Report, base: Report, table: Table) -> dict[str, float]:
    """100 minus each number of a grid, summed over severities, over that of another run, in percent.

    Empty for runs of other cells, or with a cell that has no value, or if the other run makes no error at all.
    """
    cells, of_base = (
        {Cell.of_key(row): one.number(table, row, table.columns[0]).value for row in one.own_rows(table)}
        for one in (report, base)
    )
    if set(cells) != set(of_base) or None in (*cells.values(), *of_base.values()):
        return {}
    try:
        return corruption_degradation(cells, of_base)
    except ZeroDivisionError:
        return {}


def correlations(
    benchmarks: Mapping[str, Mapping[str, Report]],
) -> tuple[list[str], dict[str, dict[str, RankCorrelation]], dict[str, dict[str, RankCorrelation]]] | None:
    """Whether Cityscapes-C puts models in the order that ACDC does.

    Args:
        benchmarks: as in :func:`protocol_differences`.

    Returns:
        Names of the models that have both; the rank correlation of mPC and each corruption, and of each corruption at
        each severity, with each condition and with all images pooled. None where fewer than two models have both.
    """
    synthetic, real = benchmarks.get(SYNTHETIC, {}), benchmarks.get(REAL, {})
    names = [name for name in synthetic if name in real]
    if len(names) < 2:
        return None
    conditions = _series([real[name] for name in names], 'conditions')
    drawn = [_series([synthetic[name] for name in names], role) for role in ('conditions', 'grid')]
    overall = {'mPC': [synthetic[name].first('mPC').value for name in names]}
    by_corruption, by_cell = (
        {row: {condition: _correlation(of, to) for condition, to in conditions.items()} for row, of in rows.items()}
        for rows in (overall | drawn[0], {name: of for name, of in drawn[1].items() if name != 'clean'})
    )
    return names, by_corruption, by_cell


def _series(reports: Sequence[Report], role: str) -> dict[str, list[float | None]]:
    """Row of a table to its first number in each of the reports."""
    tables = [report.layout.table(role) for report in reports]
    pairs = [(report, table) for report, table in zip(reports, tables, strict=True) if table is not None]
    rows = dict.fromkeys(row for report, table in pairs for row in report.rows(table))
    return {
        row: [
            None if table is None else report.number(table, row, table.columns[0]).value
            for report, table in zip(reports, tables, strict=True)
        ]
        for row in rows
    }


def _correlation(first: Sequence[float | None], second: Sequence[float | None]) -> RankCorrelation:
    """Of the models that have both numbers."""
    both = [pair for pair in zip(first, second, strict=True) if None not in pair]
    return rank_correlation([of for of, _ in both], [of for _, of in both])


def protocol_differences(benchmarks: Mapping[str, Mapping[str, Report]]) -> list[str]:
    """Differences of protocol between runs of a benchmark, a phrase each.

    Args:
        benchmarks: benchmark to its runs, name to report. What is compared is what was run, and what decides the
            numbers. A name that is in several benchmarks is of one checkpoint.
    """
    phrases = []
    for benchmark, runs in benchmarks.items():
        phrases += [f'{benchmark} {phrase}' for phrase in _differences(runs)]
    for name in dict.fromkeys(name for runs in benchmarks.values() for name in runs):
        hashes = {
            benchmark: runs[name].provenance.get('checkpoint_sha256')
            for benchmark, runs in benchmarks.items()
            if name in runs
        }
        if len(set(map(str, hashes.values()))) > 1:
            listed = ', '.join(f'{str(found)[:8]} on {benchmark}' for benchmark, found in hashes.items())
            phrases.append(f'checkpoint of {name} ({listed})')
    return phrases


def _is_single(column: Column, report: Report, base: Report) -> bool:
    """Whether a number of the headline is of one cell, or is one over all cells that both runs have."""
    return '/' in column.key or ran_the_same(report, base)


def _differences(runs: Mapping[str, Report]) -> list[str]:
    phrases = []
    first = next(iter(runs.values()))
    found = {name: set(run.own_rows(run.ran)) for name, run in runs.items()}
    if len({frozenset(names) for names in found.values()}) > 1:
        common = set.intersection(*found.values())
        listed = ', '.join(f'{len(names)} in {name}' for name, names in found.items())
        phrases.append(f'{first.ran.section or "cells"} ({listed}, {len(common)} in common)')
    fields = [*(field for run in runs.values() for field in run.layout.protocol), *ASSUMED, 'images_sha256']
    for field in dict.fromkeys(fields):
        values = {name: run.setting(field, ASSUMED.get(field)) for name, run in runs.items()}
        for label, same in _unfolded(field, values).items():
            if any(value != next(iter(same.values())) for value in same.values()):
                listed = ', '.join(f'{_short(field, value)} in {name}' for name, value in same.items())
                phrases.append(f'{label} ({listed})')
    return [*phrases, *_class_differences({name: list(run.classes) for name, run in runs.items()})]


def _class_differences(classes: Mapping[str, list[str]]) -> list[str]:
    """A phrase if not all runs have the same classes in the same order."""
    first = next(iter(classes.values()))
    if all(found == first for found in classes.values()):
        return []
    if len({len(found) for found in classes.values()}) > 1:
        return [f'classes ({", ".join(f"{len(found)} in {name}" for name, found in classes.items())})']
    place = next(place for place, names in enumerate(zip(*classes.values(), strict=True)) if len(set(names)) > 1)
    listed = ', '.join(f'{found[place]!r} in {name}' for name, found in classes.items())
    return [f'classes (number {place} is {listed})']


def _short(field: str, value: Any) -> str:
    """A setting as text; a hash by its beginning, or whether there is one."""
    if not field.endswith('sha256'):
        return str(value)
    return value[:8] if isinstance(value, str) else 'none' if value is None else 'recorded'


def _unfolded(field: str, values: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A field that holds a number for each cell as one field for each cell that all runs have."""
    if not all(isinstance(value, Mapping) for value in values.values()):
        return {field: values}
    first, *others = values.values()
    common: Sequence[str] = [cell for cell in first if all(cell in other for other in others)]
    return {f'{field} of {cell}': {name: at(value, cell) for name, value in values.items()} for cell in common}
