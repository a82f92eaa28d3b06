"""Finished cells of ImageNet-C as numbers, and the numbers as CSV and Markdown."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmrobust.corruptions import EXTRA
from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.formatting import as_csv, shown, with_interval
from mmrobust.evaluation.benchmarks.resampling import bootstrap_record, error_samples
from mmrobust.evaluation.functional import (
    INTERVAL_LEVEL,
    corruption_errors,
    interval,
    mean_corruption_error,
    mean_over_severities,
    relative_corruption_errors,
)
from mmrobust.evaluation.protocols import CLEAN, Cell
from mmrobust.evaluation.published import TABLE_3

HEADLINE = ('clean_error', 'mCE', 'relative_mCE', 'mean_error')


def summarize(
    store: CellStore, cells: Sequence[Cell], normalised_by: str | None, reference: dict | None = None
) -> dict[str, Any]:
    """All numbers of a finished run, in percent and unrounded.

    Args:
        store: where the cells, and the clean one, are.
        cells: what was run, without the clean one.
        normalised_by: name of the network that CE is relative to; None gives no CE.
        reference: content of its ``results.json``; None means AlexNet.

    Returns:
        A dict for JSON: ``clean_error``; ``mean_error`` over the corruptions of the benchmark, each the mean over its
        severities; ``mCE`` and ``relative_mCE`` where all 15 x 5 cells were run and there is a network to divide by;
        error, CE and relative CE of each corruption, None where the reference makes no errors to divide by;
        bootstrap intervals over images, and the samples.
    """
    clean = store.read(CLEAN)
    results = {cell: store.read(cell) for cell in cells}
    errors = {cell: result.error for cell, result in results.items()}
    clean_samples, *drawn = error_samples([clean, *results.values()])
    samples = dict(zip(cells, drawn, strict=True))
    by_corruption, sampled = mean_over_severities(errors), mean_over_severities(samples)
    benchmark = [name for name in by_corruption if name not in EXTRA]
    levels = {name: {cell.severity for cell in cells if cell.corruption == name} for name in by_corruption}
    whole = [name for name, found in levels.items() if len(found) == 5]  # CE is defined over all severities
    ce, relative, ce_samples, relative_samples = {}, {}, {}, {}
    if normalised_by is not None and whole:
        divisors = None if reference is None else _errors_of(reference)
        of_reference = None if reference is None else reference['results']['clean_error']
        dividable = _chosen(cells, whole, divisors, 0)
        ce, ce_samples = (corruption_errors(_part(of, dividable), divisors) for of in (errors, samples))
        dividable = _chosen(cells, whole, divisors, of_reference)
        relative, relative_samples = (
            relative_corruption_errors(_part(of, dividable), at_clean, divisors, of_reference)
            for of, at_clean in ((errors, clean.error), (samples, clean_samples))
        )
    summary: dict[str, Any] = {
        'clean_error': clean.error,
        'clean_error_interval': interval(clean_samples),
        'mean_error': None,
        'mCE': None,
        'relative_mCE': None,
        'normalised_by': normalised_by,
    }
    bootstrap = {'clean_error': clean_samples}
    if benchmark:
        bootstrap['mean_error'] = np.mean([sampled[name] for name in benchmark], axis=0)
        summary['mean_error'] = float(np.mean([by_corruption[name] for name in benchmark]))
        summary['mean_error_interval'] = interval(bootstrap['mean_error'])
    for key, values, drawn in (('mCE', ce, ce_samples), ('relative_mCE', relative, relative_samples)):
        of_benchmark = {name: value for name, value in values.items() if name not in EXTRA}
        if len(of_benchmark) == 15:
            summary[key] = float(mean_corruption_error(of_benchmark))
            bootstrap[key] = mean_corruption_error({name: drawn[name] for name in of_benchmark})
            summary[f'{key}_interval'] = interval(bootstrap[key])
    return summary | {
        'corruptions': {
            name: {
                'error': float(value),
                'CE': _number(ce.get(name)),
                'relative_CE': _number(relative.get(name)),
                'extra': name in EXTRA,
            }
            for name, value in by_corruption.items()
        },
        'cells': {cell.name: {'error': errors[cell], 'error_interval': interval(samples[cell])} for cell in cells},
        'bootstrap': bootstrap_record(clean.pictures, **bootstrap),
    }


def to_csv(summary: dict[str, Any]) -> str:
    """One row per cell: corruption, severity, error and its interval."""
    rows = [[*CLEAN, summary['clean_error'], *summary['clean_error_interval']]]
    rows += [[*Cell.of_name(name), cell['error'], *cell['error_interval']] for name, cell in summary['cells'].items()]
    return as_csv(['corruption', 'severity', 'error', 'error_low', 'error_high'], rows)


def to_markdown(summary: dict[str, Any], title: str) -> str:
    """The numbers as a page; below them the paper's Table 3, labelled as published, where CE is relative to AlexNet."""
    by = summary['normalised_by'] or 'no network, so there is no CE'
    lines = [
        f'# {title}',
        '',
        'Top-1 error in percent. CE is the error over that of a reference network, both summed over severities; mCE is '
        f'its mean over the 15 corruptions. Here the reference is {by}. '
        f'Intervals: {INTERVAL_LEVEL:.0%}, bootstrap over images.',
        '',
        '| clean error | mCE | relative mCE | mean error |',
        '|---:|---:|---:|---:|',
        '| ' + ' | '.join(with_interval(summary, key) for key in HEADLINE) + ' |',
        '',
        '## By corruption',
        '| corruption | error | CE | relative CE |',
        '|---|---:|---:|---:|',
    ]
    for name, row in summary['corruptions'].items():
        values = ' | '.join(shown(row[key]) for key in ('error', 'CE', 'relative_CE'))
        lines.append(f'| {name}{" (extra, in no mean)" if row["extra"] else ""} | {values} |')
    if summary['normalised_by'] == 'AlexNet' and summary['mCE'] is not None:
        lines += ['', '## Published (paper, Table 3), not measured here', '| model | mCE |', '|---|---:|']
        lines += [f'| {model} | {row["mCE"]} |' for model, row in TABLE_3.items()]
    return '\n'.join(lines) + '\n'


def _chosen(
    cells: Sequence[Cell], whole: Sequence[str], divisors: dict[tuple[str, int], float] | None, floor: float | None
) -> list[Cell]:
    """Cells of the corruptions on which the reference's error is above the floor: no other has a quotient."""
    above = whole
    if divisors is not None:
        found = mean_over_severities(divisors)
        above = [name for name in whole if found.get(name, 0) > floor]
    return [cell for cell in cells if cell.corruption in above]


def _part(values: dict[Cell, Any], cells: Sequence[Cell]) -> dict[Cell, Any]:
    return {cell: values[cell] for cell in cells}


def _errors_of(reference: dict) -> dict[Cell, float]:
    return {Cell.of_name(name): cell['error'] for name, cell in reference['results']['cells'].items()}


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
