"""ImageNet-P: flip probability and mFR, and their intervals, against loops over the draws."""

import hashlib

import numpy as np
import pytest
from scipy.stats import norm, t

from mmrobust.evaluation.benchmarks.imagenet_p import ImageNetP, summarize
from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.comparison import change
from mmrobust.evaluation.counts import Flips, Stability
from mmrobust.evaluation.renderers import to_csv, to_markdown
from mmrobust.evaluation.report import Report
from mmrobust.evaluation.statistics import ALEXNET_FLIP_PROBABILITIES
from mmrobust.evaluation.statistics.perturbation_stability import PERTURBATIONS

NUM_VIDEOS, PAIRS = 20, 30


def _flips(seed):
    """Flips of each video of each perturbation, in the order of the videos' names."""
    rng = np.random.default_rng(seed)
    return {name: rng.integers(PAIRS, size=NUM_VIDEOS) for name in (*PERTURBATIONS, 'shear')}


def _summary(flips, names=PERTURBATIONS, difficulty=1):
    counts = {}
    for name in names:
        videos = {f'{name}/{index:02}.mp4': Stability(int(of), 90, PAIRS) for index, of in enumerate(flips[name])}
        counts[Cell(name)] = Flips(videos)
    return summarize(counts, difficulty)


def _report(summary):
    return Report(ImageNetP.layout(summary, {}), summary, {})


def _plain_draws(flips):
    """Flip probability of each perturbation and mFR, in percent, for the same videos drawn in all perturbations."""
    names = '\n'.join(f'{index:02}.mp4' for index in range(NUM_VIDEOS))
    rng = np.random.default_rng(int(hashlib.sha256(names.encode()).hexdigest()[:16], 16))
    probabilities, rates = {name: [] for name in flips}, []
    for _ in range(1000):
        drawn = rng.integers(NUM_VIDEOS, size=NUM_VIDEOS)
        for name, of in flips.items():
            probabilities[name].append(100 * np.mean([of[index] / PAIRS for index in drawn]))
        rates.append(np.mean([probabilities[name][-1] / ALEXNET_FLIP_PROBABILITIES[name] for name in PERTURBATIONS]))
    return probabilities, rates


def _percentiles(draws):
    tail = 100 * norm.cdf(t.ppf(0.025, NUM_VIDEOS - 1) * (NUM_VIDEOS / (NUM_VIDEOS - 1)) ** 0.5)
    return pytest.approx((np.percentile(draws, tail), np.percentile(draws, 100 - tail)), abs=1e-3)


def test_intervals_are_those_of_a_plain_loop():
    flips = _flips(1)
    summary = _summary(flips)
    probabilities, rates = _plain_draws(flips)
    for name in PERTURBATIONS:
        row = summary['perturbations'][name]
        assert row['flip_probability'] == pytest.approx(100 * np.mean(flips[name]) / PAIRS)
        assert row['flip_probability_interval'] == _percentiles(probabilities[name])
    fractions = {name: np.mean(flips[name]) / PAIRS / ALEXNET_FLIP_PROBABILITIES[name] for name in PERTURBATIONS}
    assert summary['mFR'] == pytest.approx(100 * np.mean(list(fractions.values())))
    assert summary['mFR_interval'] == _percentiles(rates)
    assert f'{summary["mFR"]:.2f} (' in to_markdown(_report(summary), 'title')
    assert len(to_csv(_report(summary)).splitlines()) == 11


def test_interval_of_a_change_is_paired():
    """It is narrower than what two runs with draws of their own would have, and needs the same videos only."""
    first = _flips(1)
    second = {name: np.minimum(of + 3, PAIRS) for name, of in first.items()}
    ours, theirs = _summary(first), _summary(second)
    (of_ours, our_rates), (of_theirs, their_rates) = _plain_draws(first), _plain_draws(second)
    whole, table = _report(ours).headline, _report(ours).layout.table('conditions')
    found = change(_report(theirs), _report(ours), whole, '', whole.columns[0])
    assert found[1:3] == _percentiles(np.subtract(their_rates, our_rates))
    tilt = change(_report(theirs), _report(ours), table, 'tilt', table.columns[0])
    assert tilt[1:3] == _percentiles(np.subtract(of_theirs['tilt'], of_ours['tilt']))
    assert found.high - found.low < 0.5 * np.ptp(ours['mFR_interval'])
    other = _summary(first, ('tilt', 'snow'))
    other['perturbations']['tilt'] = other['perturbations']['snow']
    assert change(_report(other), _report(ours), table, 'tilt', table.columns[0]).low is None


def test_no_rates_at_another_difficulty_or_of_a_part():
    for names, difficulty in ((PERTURBATIONS, 2), (PERTURBATIONS[:9], 1)):
        summary = _summary(_flips(1), names, difficulty)
        assert summary['mFR'] is None and 'mFR_interval' not in summary and 'bootstrap' not in summary
        assert (
            len(summary['perturbations']['tilt' if difficulty == 2 else 'snow']['bootstrap']['flip_probability'])
            == 1000
        )
