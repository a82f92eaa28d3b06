"""Finished conditions of ACDC as numbers, and the numbers as CSV and Markdown."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.formatting import as_csv, shown, shown_ends
from mmrobust.evaluation.benchmarks.resampling import area_samples, bootstrap_record, mean_iou_of_areas
from mmrobust.evaluation.functional import INTERVAL_LEVEL, class_iou, interval, mean_iou
from mmrobust.evaluation.protocols import Cell

POOLED = 'pooled'


def summarize(store: CellStore, cells: Sequence[Cell], class_names: Sequence[str]) -> dict[str, Any]:
    """All numbers of a finished run, in percent and unrounded.

    Args:
        store: where the cells are.
        cells: one for each condition.
        class_names: K names.

    Returns:
        A dict for JSON: mIoU of each condition, the mean of these, the mIoU of all pictures pooled (what the ACDC
        server calls all), bootstrap intervals over images, and IoU of each class by condition and pooled.
    """
    results = {cell.name: store.read(cell) for cell in cells}
    areas = {name: area_samples([result])[:, 0] for name, result in results.items()}
    pooled = sum(result.confusion for result in results.values())
    pooled_samples = mean_iou_of_areas(sum(areas.values()))
    conditions = {
        name: {'mIoU': mean_iou(result.confusion), 'mIoU_interval': interval(mean_iou_of_areas(areas[name]))}
        for name, result in results.items()
    }
    ious = {name: class_iou(result.confusion) for name, result in results.items()} | {POOLED: class_iou(pooled)}
    return {
        'conditions': conditions,
        'mean_mIoU': float(np.mean([row['mIoU'] for row in conditions.values()])),
        'pooled_mIoU': mean_iou(pooled),
        'pooled_mIoU_interval': interval(pooled_samples),
        'classes': {
            label: {name: None if np.isnan(values[index]) else float(values[index]) for name, values in ious.items()}
            for index, label in enumerate(class_names)
        },
        'bootstrap': bootstrap_record(
            [name for result in results.values() for name in result.images], pooled_mIoU=pooled_samples
        ),
    }


def to_csv(summary: dict[str, Any]) -> str:
    """One row per condition and one for all pictures pooled: mIoU and its interval."""
    rows = [[name, row['mIoU'], *row['mIoU_interval']] for name, row in _rows(summary)]
    return as_csv(['condition', 'mIoU', 'mIoU_low', 'mIoU_high'], rows)


def to_markdown(summary: dict[str, Any], title: str) -> str:
    """The numbers as a page."""
    names = [*summary['conditions'], POOLED]
    headline = [f'{row["mIoU"]:.2f}' for row in summary['conditions'].values()]
    lines = [
        f'# {title}',
        '',
        'mIoU in percent. The mean is that of the conditions; pooled is the mIoU of all pictures together, which is '
        'another number, and the one that the ACDC server calls all. '
        f'Intervals: {INTERVAL_LEVEL:.0%}, bootstrap over images.',
        '',
        f'| {" | ".join(summary["conditions"])} | mean | pooled |',
        '|---:' * (len(headline) + 2) + '|',
        f'| {" | ".join(headline)} | {summary["mean_mIoU"]:.2f} | {summary["pooled_mIoU"]:.2f} |',
        '',
        '## By condition',
        '| condition | mIoU | interval |',
        '|---|---:|---:|',
    ]
    for name, row in _rows(summary):
        lines.append(f'| {name} | {row["mIoU"]:.2f} | {shown_ends(row["mIoU_interval"])} |')
    lines += ['', '## By class', f'| class | {" | ".join(names)} |', '|---' + '|---:' * len(names) + '|']
    for label, row in summary['classes'].items():
        lines.append(f'| {label} | {" | ".join(shown(row[name]) for name in names)} |')
    return '\n'.join(lines) + '\n'


def _rows(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    pooled = {'mIoU': summary['pooled_mIoU'], 'mIoU_interval': summary['pooled_mIoU_interval']}
    return [*summary['conditions'].items(), (POOLED, pooled)]
