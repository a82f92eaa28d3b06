"""Finished cells of Cityscapes-C as numbers, and the numbers as CSV and Markdown."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.formatting import as_csv, shown, with_interval
from mmrobust.evaluation.benchmarks.resampling import area_samples, bootstrap_record, mean_iou_of_areas
from mmrobust.evaluation.functional import (
    INTERVAL_LEVEL,
    class_iou,
    interval,
    mean_iou,
    mean_over_corruptions,
    mean_over_severities,
    retention,
)
from mmrobust.evaluation.protocols import CLEAN, Cell
from mmrobust.evaluation.published import TABLE_IV, is_table_iv


def summarize(store: CellStore, cells: Sequence[Cell], groups: dict[str, tuple[str, ...]], class_names: Sequence[str]):
    """All numbers of a finished run, in percent and unrounded.

    Args:
        store: where the cells, and the clean one, are.
        cells: what was run, without the clean one.
        groups: corruptions by kind.
        class_names: K names.

    Returns:
        A dict for JSON: ``clean_mIoU``, ``mPC``, ``retention``, mIoU of each group, corruption, severity and cell, and
        the IoU of each class; bootstrap intervals over images of the first three and of each cell; and the bootstrap
        samples, from which another run on the same pictures gets the interval of a difference.
    """
    clean = store.read(CLEAN)
    results = {cell: store.read(cell) for cell in cells}
    miou = {cell: mean_iou(result.confusion) for cell, result in results.items()}
    clean_samples, *drawn = mean_iou_of_areas(area_samples([clean, *results.values()])).T
    samples = dict(zip(results, drawn, strict=True))
    by_corruption = mean_over_severities(miou)
    clean_miou, mpc = mean_iou(clean.confusion), mean_over_corruptions(by_corruption)
    mpc_samples = mean_over_corruptions(mean_over_severities(samples))
    shown_groups = {
        group: [by_corruption[name] for name in names if name in by_corruption] for group, names in groups.items()
    }
    severities = sorted({cell.severity for cell in cells})
    clean_classes = class_iou(clean.confusion)
    corrupted_classes = np.stack([class_iou(result.confusion) for result in results.values()])
    return {
        'clean_mIoU': clean_miou,
        'clean_mIoU_interval': interval(clean_samples),
        'mPC': mpc,
        'mPC_interval': interval(mpc_samples),
        'retention': retention(mpc, clean_miou),
        'retention_interval': interval(100 * mpc_samples / clean_samples),
        'groups': {group: float(np.mean(values)) for group, values in shown_groups.items() if values},
        'corruptions': by_corruption,
        'severities': {
            str(level): float(np.mean([value for cell, value in miou.items() if cell.severity == level]))
            for level in severities
        },
        'cells': {cell.name: {'mIoU': miou[cell], 'mIoU_interval': interval(samples[cell])} for cell in cells},
        'classes': {
            name: {
                'clean': _number(clean_classes[index]),
                'corrupted': _number(
                    np.nanmean(corrupted_classes[:, index]) if clean.confusion[index].any() else np.nan
                ),
            }
            for index, name in enumerate(class_names)
        },
        'bootstrap': bootstrap_record(clean.images, clean_mIoU=clean_samples, mPC=mpc_samples),
    }


def to_csv(summary: dict[str, Any]) -> str:
    """One row per cell: corruption, severity, mIoU and its interval."""
    rows = [[*CLEAN, summary['clean_mIoU'], *summary['clean_mIoU_interval']]]
    rows += [[*Cell.of_name(name), cell['mIoU'], *cell['mIoU_interval']] for name, cell in summary['cells'].items()]
    return as_csv(['corruption', 'severity', 'mIoU', 'mIoU_low', 'mIoU_high'], rows)


def to_markdown(summary: dict[str, Any], title: str) -> str:
    """The numbers as a page; below them the paper's Table IV, labelled as published, where its cells were run."""
    headline = ('clean_mIoU', 'mPC', 'retention')
    lines = [
        f'# {title}',
        '',
        'mIoU in percent. mPC is the mean over corruptions, each the mean over its severities; retention is mPC over '
        f'clean. Intervals: {INTERVAL_LEVEL:.0%}, bootstrap over images.',
        '',
        '| clean | mPC | retention |',
        '|---:|---:|---:|',
        '| ' + ' | '.join(with_interval(summary, name) for name in headline) + ' |',
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
        f'| {name} | {shown(row["clean"])} | {shown(row["corrupted"])} |' for name, row in summary['classes'].items()
    ]
    if is_table_iv(summary):
        lines += ['', '## Published (paper, Table IV), not measured here', '| model | mPC |', '|---|---:|']
        lines += [f'| {model} | {row["average"]} |' for model, row in TABLE_IV.items()]
    return '\n'.join(lines) + '\n'


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
