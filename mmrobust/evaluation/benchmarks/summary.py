"""One model's finished cells as numbers, and the numbers as JSON, CSV and Markdown."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmrobust.evaluation.benchmarks.cell_store import CellResult, CellStore
from mmrobust.evaluation.benchmarks.protocols import CLEAN, Cell, select_cells
from mmrobust.evaluation.benchmarks.published import TABLE_IV
from mmrobust.evaluation.functional import (
    bootstrap_interval,
    class_iou,
    iou_of_areas,
    mean_iou,
    mean_over_corruptions,
    mean_over_severities,
    retention,
)

INTERVAL_LEVEL = 0.95


def summarize(store: CellStore, cells: Sequence[Cell], groups: dict[str, tuple[str, ...]], class_names: Sequence[str]):
    """All numbers of a finished run, in percent and unrounded.

    Args:
        store: where the cells, and the clean one, are.
        cells: what was run, without the clean one.
        groups: corruptions by kind.
        class_names: K names.

    Returns:
        A dict for JSON: ``clean_mIoU``, ``mPC``, ``retention``, mIoU of each group, corruption, severity and cell, and
        the IoU of each class; bootstrap intervals over images of the clean mIoU and of each cell.
    """
    clean = store.read(CLEAN)
    results = {cell: store.read(cell) for cell in cells}
    miou = {cell: mean_iou(result.confusion) for cell, result in results.items()}
    by_corruption = mean_over_severities(miou)
    clean_miou, mpc = mean_iou(clean.confusion), mean_over_corruptions(by_corruption)
    shown_groups = {
        group: [by_corruption[name] for name in names if name in by_corruption] for group, names in groups.items()
    }
    severities = sorted({cell.severity for cell in cells})
    clean_classes = class_iou(clean.confusion)
    corrupted_classes = np.stack([class_iou(result.confusion) for result in results.values()])
    return {
        'clean_mIoU': clean_miou,
        'clean_mIoU_interval': _interval(clean),
        'mPC': mpc,
        'retention': retention(mpc, clean_miou),
        'groups': {group: float(np.mean(values)) for group, values in shown_groups.items() if values},
        'corruptions': by_corruption,
        'severities': {
            str(level): float(np.mean([value for cell, value in miou.items() if cell.severity == level]))
            for level in severities
        },
        'cells': {cell.name: {'mIoU': miou[cell], 'mIoU_interval': _interval(results[cell])} for cell in cells},
        'classes': {
            name: {
                'clean': _number(clean_classes[index]),
                'corrupted': _number(
                    np.nanmean(corrupted_classes[:, index]) if clean.confusion[index].any() else np.nan
                ),
            }
            for index, name in enumerate(class_names)
        },
    }


def is_table_iv(summary: dict[str, Any]) -> bool:
    """Whether the cells are those of the paper's Table IV, so that its figures may stand beside these."""
    return set(summary['cells']) == {cell.name for cell in select_cells('kamann')}


def to_csv(summary: dict[str, Any]) -> str:
    """One row per cell: corruption, severity, mIoU and its interval."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['corruption', 'severity', 'mIoU', 'mIoU_low', 'mIoU_high'])
    writer.writerow(['clean', 0, summary['clean_mIoU'], *summary['clean_mIoU_interval']])
    for name, cell in summary['cells'].items():
        corruption, _, severity = name.rpartition('_')
        writer.writerow([corruption, severity, cell['mIoU'], *cell['mIoU_interval']])
    return text.getvalue()


def to_markdown(summary: dict[str, Any], title: str) -> str:
    """The numbers as a page; below them the paper's Table IV, labelled as published, where its cells were run."""
    low, high = summary['clean_mIoU_interval']
    lines = [
        f'# {title}',
        '',
        'mIoU in percent. mPC is the mean over corruptions, each the mean over its severities; retention is mPC over '
        f'clean. Intervals: {INTERVAL_LEVEL:.0%}, bootstrap over images.',
        '',
        '| clean | mPC | retention |',
        '|---:|---:|---:|',
        f'| {summary["clean_mIoU"]:.2f} ({low:.2f} to {high:.2f}) '
        f'| {summary["mPC"]:.2f} | {summary["retention"]:.2f} |',
    ]
    for heading, column, values in (
        ('By group', 'group', summary['groups']),
        ('By corruption', 'corruption', summary['corruptions']),
        ('By severity', 'severity', summary['severities']),
    ):
        lines += ['', f'## {heading}', f'| {column} | mIoU |', '|---|---:|']
        lines += [f'| {name} | {value:.2f} |' for name, value in values.items()]
    lines += ['', '## By class', '| class | clean IoU | mean corrupted IoU |', '|---|---:|---:|']
    lines += [
        f'| {name} | {_shown(row["clean"])} | {_shown(row["corrupted"])} |' for name, row in summary['classes'].items()
    ]
    if is_table_iv(summary):
        lines += ['', '## Published (paper, Table IV), not measured here', '| model | mPC |', '|---|---:|']
        lines += [f'| {model} | {row["average"]} |' for model, row in TABLE_IV.items()]
    return '\n'.join(lines) + '\n'


def _interval(result: CellResult) -> list[float]:
    counts = np.stack([result.images[name] for name in sorted(result.images)])
    return list(bootstrap_interval(counts, _mean_iou_of_counts, level=INTERVAL_LEVEL))


def _mean_iou_of_counts(counts: np.ndarray) -> float:
    """mIoU from ``(3, K)`` intersection, prediction and label."""
    return float(np.nanmean(iou_of_areas(*counts)))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _shown(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
