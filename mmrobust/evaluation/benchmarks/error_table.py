"""Cells that stand side by side, with nothing averaged over them: numbers, CSV and Markdown."""

from collections.abc import Sequence
from typing import Any

from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.formatting import as_csv, shown_ends
from mmrobust.evaluation.benchmarks.resampling import bootstrap_record, error_samples
from mmrobust.evaluation.functional import INTERVAL_LEVEL, interval
from mmrobust.evaluation.protocols import Cell


def summarize(store: CellStore, cells: Sequence[Cell]) -> dict[str, Any]:
    """Top-1 error of each cell in percent, unrounded, with its bootstrap interval over images, for JSON."""
    results = {cell.name: store.read(cell) for cell in cells}
    rows = {}
    for name, result in results.items():
        (samples,) = error_samples([result])
        rows[name] = {
            'error': result.error,
            'error_interval': interval(samples),
            'num_images': len(result.pictures),
            'bootstrap': bootstrap_record(result.pictures, error=samples),
        }
    return {'cells': rows}


def to_csv(summary: dict[str, Any]) -> str:
    """One row per cell."""
    rows = [[name, row['error'], *row['error_interval'], row['num_images']] for name, row in summary['cells'].items()]
    return as_csv(['cell', 'error', 'error_low', 'error_high', 'num_images'], rows)


def to_markdown(summary: dict[str, Any], title: str) -> str:
    """The numbers as a page."""
    lines = [
        f'# {title}',
        '',
        f'Top-1 error and accuracy in percent. Intervals: {INTERVAL_LEVEL:.0%}, bootstrap over images.',
        '',
        '| pictures | error | interval | accuracy | number |',
        '|---|---:|---:|---:|---:|',
    ]
    for name, row in summary['cells'].items():
        error, ends, number = row['error'], shown_ends(row['error_interval']), row['num_images']
        lines.append(f'| {name} | {error:.2f} | {ends} | {100 - error:.2f} | {number} |')
    return '\n'.join(lines) + '\n'
