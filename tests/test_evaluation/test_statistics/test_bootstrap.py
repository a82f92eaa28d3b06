"""Draws are of whole units and paired; intervals cover what they promise, in simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest

from mmrobust.evaluation.statistics import Bootstrap, interval, rate_interval


def _names(number):
    return [f'{index:03d}' for index in range(number)]


def test_sums_are_of_as_many_images_drawn_with_replacement():
    """Image i counts 10 ** i: the digits of a sum say how often each image was drawn."""
    sums = Bootstrap(_names(5), num_samples=200).sums(10 ** np.arange(5))
    digits = np.array([[int(digit) for digit in f'{int(total):05d}'] for total in sums])
    assert sums.shape == (200,) and (digits.sum(1) == 5).all()
    assert (digits == 0).any() and (digits > 1).any()
    assert digits.mean(0) == pytest.approx(np.ones(5), abs=0.25)


def test_frames_of_a_sequence_are_drawn_together():
    names = ['b_1', 'a_1', 'a_2', 'b_2', 'b_3']
    bootstrap = Bootstrap(names, unit_of=lambda name: name[0], num_samples=200)
    assert bootstrap.units == 2 and bootstrap.names == sorted(names)
    sums = bootstrap.sums(np.array([1, 1, 100, 100, 100]))
    assert {*sums.tolist()} == {4, 302, 600}


def test_covers_a_known_spread():
    """Of images that are all right or all wrong, half and half, the share is binomial: 50 +- 1.96 sqrt(.25 / 400)."""
    bootstrap = Bootstrap(_names(400), num_samples=2000)
    low, high = bootstrap.interval(100 * bootstrap.sums(np.repeat([1, 0], 200)) / 400)
    assert (low, high) == (pytest.approx(45.1, abs=0.6), pytest.approx(54.9, abs=0.6))
    assert interval(np.arange(101), 10**9, level=0.5) == pytest.approx((25, 75))


def test_no_interval_of_one_unit():
    assert interval(np.arange(101), 1) == (None, None)


def test_draws_are_paired_by_names():
    """The same images are in sample s of any two cells, so what all images share cancels in a difference."""
    counts = np.random.default_rng(0).integers(0, 1000, (30, 3, 4))
    one, same = Bootstrap(_names(30)), Bootstrap(reversed(_names(30)))
    assert np.array_equal(same.sums(counts + 7) - one.sums(counts), np.full((1000, 3, 4), 210.0))
    assert one.record() == same.record()
    for other in (Bootstrap(_names(31)[1:]), Bootstrap(_names(30), unit_of=lambda name: name[0])):
        assert other.record()['images_sha256'] != one.record()['images_sha256']
        assert not np.array_equal(other.sums(counts), one.sums(counts))


@pytest.mark.parametrize(('hits', 'number'), [(0, 40), (1, 355), (40, 40), (17, 100)])
def test_wilson(hits, number):
    expected = binomtest(hits, number).proportion_ci(0.95, method='wilson')
    assert rate_interval(hits, number) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-9)


@pytest.mark.parametrize('number', [100, 355, 500])
@pytest.mark.parametrize('rate', [0.01, 0.1, 0.5])
def test_coverage_of_rates(number, rate):
    """Nominal 95%: exactly, over all outcomes."""
    hits = np.arange(number + 1)
    ends = np.array([rate_interval(int(one), number) for one in hits])
    covers = (ends[:, 0] <= 100 * rate) & (100 * rate <= ends[:, 1])
    shares = np.random.default_rng(0).binomial(number, rate, 20000)
    assert covers[shares].mean() >= 0.92


def _coverage(draw, of_sums, truth, names, unit_of=None, runs=400):
    """Share of simulated test sets whose interval holds the true number."""
    rng = np.random.default_rng(1)
    bootstrap = Bootstrap(names, unit_of, num_samples=400)
    found = 0
    for _ in range(runs):
        low, high = bootstrap.interval(of_sums(bootstrap.sums(draw(rng))))
        found += low <= truth <= high
    return found / runs


def test_coverage_of_frames_of_20_sequences():
    """Frames of a sequence are right or wrong together, more or less: shares of pixels, beta by sequence."""

    def draw(rng):
        right = np.repeat(rng.beta(4, 2, 20), 5) * 1000 + rng.normal(0, 20, 100)
        return np.stack([right, np.full(100, 1000.0)], axis=1)

    def share(sums):
        return 100 * sums[:, 0] / sums[:, 1]

    truth, names = 100 * 4 / 6, [f'{sequence:02d}_{frame}' for sequence in range(20) for frame in range(5)]
    assert _coverage(draw, share, truth, names, lambda name: name[:2]) >= 0.92
    assert _coverage(draw, share, truth, names) < 0.8, 'what frames as independent images would claim'


@pytest.mark.parametrize('number', [100, 355, 500])
def test_coverage_of_iou_of_independent_images(number):
    """A ratio of sums, of images whose shares differ."""

    def draw(rng):
        union = rng.gamma(2, 500, number)
        return np.stack([union * rng.beta(3, 2, number), union], axis=1)

    assert _coverage(draw, lambda sums: 100 * sums[:, 0] / sums[:, 1], 60, _names(number), runs=300) >= 0.92
