"""Finished perturbations of ImageNet-P as numbers, and the numbers as CSV and Markdown."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.protocols import Cell
from mmrobust.evaluation.functional import (
    INTERVAL_LEVEL,
    flip_rates,
    interval,
    mean_flip_rate,
    resampled_sums,
)
from mmrobust.evaluation.functional.perturbation_stability import PERTURBATIONS


def summarize(store: CellStore, cells: Sequence[Cell], difficulty: int) -> dict[str, Any]:
    """All numbers of a finished run, unrounded, for JSON.

    Flip probabilities and rates are in percent, uT5D is 0 to 15. FR and mFR are relative to AlexNet at difficulty 1,
    and are None at another; mFR is over the 10 perturbations of the benchmark. Intervals: bootstrap over videos.
    """
    rows, probabilities, samples = {}, {}, {}
    for cell in cells:
        result = store.read(cell)
        flips = result.flip_probabilities
        drawn = resampled_sums(flips) / len(flips)
        probabilities[cell.name], samples[cell.name] = flips.mean(), drawn
        rows[cell.name] = {
            'flip_probability': 100 * float(flips.mean()),
            'flip_probability_interval': interval(100 * drawn),
            'uT5D': float(result.distances.mean()),
            'FR': None,
            'num_videos': len(flips),
        }
    summary: dict[str, Any] = {'perturbations': rows, 'mFR': None}
    if difficulty == 1:
        rates, drawn_rates = flip_rates(probabilities), flip_rates(samples)
        for name, rate in rates.items():
            rows[name]['FR'] = float(rate)
        if all(name in rates for name in PERTURBATIONS):
            summary['mFR'] = float(mean_flip_rate({name: rates[name] for name in PERTURBATIONS}))
            drawn = mean_flip_rate({name: drawn_rates[name] for name in PERTURBATIONS})
            summary['mFR_interval'] = interval(np.asarray(drawn))
    return summary


def to_csv(summary: dict[str, Any]) -> str:
    """One row per perturbation."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['perturbation', 'flip_probability', 'low', 'high', 'FR', 'uT5D', 'num_videos'])
    for name, row in summary['perturbations'].items():
        ends = row['flip_probability_interval']
        writer.writerow([name, row['flip_probability'], *ends, row['FR'], row['uT5D'], row['num_videos']])
    return text.getvalue()


def to_markdown(summary: dict[str, Any], title: str) -> str:
    """The numbers as a page."""
    mfr = '-'
    if summary['mFR'] is not None:
        low, high = summary['mFR_interval']
        mfr = f'{summary["mFR"]:.2f} ({low:.2f} to {high:.2f})'
    lines = [
        f'# {title}',
        '',
        'FP is the share in percent of compared frames whose prediction differs, FR that over the FP of AlexNet, mFR '
        'the mean FR of the 10 perturbations. uT5D is the distance of the five best classes, not divided by that of '
        f'AlexNet, which is not published. Intervals: {INTERVAL_LEVEL:.0%}, bootstrap over videos.',
        '',
        '| mFR |',
        '|---:|',
        f'| {mfr} |',
        '',
        '| perturbation | FP | interval | FR | uT5D |',
        '|---|---:|---:|---:|---:|',
    ]
    for name, row in summary['perturbations'].items():
        low, high = row['flip_probability_interval']
        rate = '-' if row['FR'] is None else f'{row["FR"]:.2f}'
        lines.append(
            f'| {name} | {row["flip_probability"]:.2f} | {low:.2f} to {high:.2f} | {rate} | {row["uT5D"]:.3f} |'
        )
    return '\n'.join(lines) + '\n'
