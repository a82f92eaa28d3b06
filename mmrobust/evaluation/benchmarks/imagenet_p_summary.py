"""Finished perturbations of ImageNet-P as numbers, and the numbers as CSV and Markdown."""

from collections.abc import Sequence
from typing import Any

from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.formatting import as_csv, shown, shown_ends, with_interval
from mmrobust.evaluation.benchmarks.resampling import bootstrap_record
from mmrobust.evaluation.functional import INTERVAL_LEVEL, flip_rates, interval, mean_flip_rate, resampled_sums
from mmrobust.evaluation.functional.perturbation_stability import PERTURBATIONS
from mmrobust.evaluation.protocols import Cell


def summarize(store: CellStore, cells: Sequence[Cell], difficulty: int) -> dict[str, Any]:
    """All numbers of a finished run, unrounded, for JSON.

    Flip probabilities and rates are in percent, uT5D is 0 to 15. FR and mFR are relative to AlexNet at difficulty 1,
    and are None at another; mFR is over the 10 perturbations of the benchmark. Intervals: bootstrap over videos, whose
    samples are there too, so that another run on the same videos gets the interval of a difference.
    """
    results = {cell.name: store.read(cell) for cell in cells}
    rows, probabilities, samples = {}, {}, {}
    for name, result in results.items():
        flips = result.flip_probabilities
        drawn = resampled_sums(flips) / len(flips)
        probabilities[name], samples[name] = flips.mean(), drawn
        rows[name] = {
            'flip_probability': 100 * float(flips.mean()),
            'flip_probability_interval': interval(100 * drawn),
            'uT5D': float(result.distances.mean()),
            'FR': None,
            'num_videos': len(flips),
            'bootstrap': bootstrap_record(result.videos, flip_probability=100 * drawn),
        }
    summary: dict[str, Any] = {'perturbations': rows, 'mFR': None}
    if difficulty == 1:
        rates, drawn_rates = flip_rates(probabilities), flip_rates(samples)
        for name, rate in rates.items():
            rows[name]['FR'] = float(rate)
        if all(name in rates for name in PERTURBATIONS):
            summary['mFR'] = float(mean_flip_rate({name: rates[name] for name in PERTURBATIONS}))
            drawn = mean_flip_rate({name: drawn_rates[name] for name in PERTURBATIONS})
            summary['mFR_interval'] = interval(drawn)
            videos = [video for name in PERTURBATIONS for video in results[name].videos]
            summary['bootstrap'] = bootstrap_record(videos, mFR=drawn)
    return summary


def to_csv(summary: dict[str, Any]) -> str:
    """One row per perturbation."""
    last = ('FR', 'uT5D', 'num_videos')
    rows = [
        [name, row['flip_probability'], *row['flip_probability_interval'], *(row[key] for key in last)]
        for name, row in summary['perturbations'].items()
    ]
    return as_csv(['perturbation', 'flip_probability', 'low', 'high', *last], rows)


def to_markdown(summary: dict[str, Any], title: str) -> str:
    """The numbers as a page."""
    lines = [
        f'# {title}',
        '',
        'FP is the share in percent of compared frames whose prediction differs, FR that over the FP of AlexNet, mFR '
        'the mean FR of the 10 perturbations. uT5D is the distance of the five best classes, not divided by that of '
        f'AlexNet, which is not published. Intervals: {INTERVAL_LEVEL:.0%}, bootstrap over videos.',
        '',
        '| mFR |',
        '|---:|',
        f'| {with_interval(summary, "mFR")} |',
        '',
        '| perturbation | FP | interval | FR | uT5D |',
        '|---|---:|---:|---:|---:|',
    ]
    for name, row in summary['perturbations'].items():
        ends = shown_ends(row['flip_probability_interval'])
        lines.append(f'| {name} | {row["flip_probability"]:.2f} | {ends} | {shown(row["FR"])} | {row["uT5D"]:.3f} |')
    return '\n'.join(lines) + '\n'
