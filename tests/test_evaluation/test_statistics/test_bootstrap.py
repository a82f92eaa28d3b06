import numpy as np
import pytest

from mmrobust.evaluation.statistics import interval, resampled_sums


def test_sums_are_of_as_many_images_drawn_with_replacement():
    """Image i counts 10 ** i: the digits of a sum say how often each image was drawn."""
    counts = 10 ** np.arange(5)
    sums = resampled_sums(counts, num_samples=200)
    digits = np.array([[int(digit) for digit in f'{int(total):05d}'] for total in sums])
    assert sums.shape == (200,) and (digits.sum(1) == 5).all()
    assert (digits == 0).any() and (digits > 1).any()
    assert digits.mean(0) == pytest.approx(np.ones(5), abs=0.25)


def test_covers_a_known_spread():
    """Of images that are all right or all wrong, half and half, the share is binomial: 50 +- 1.96 sqrt(.25 / 400)."""
    right = np.repeat([1, 0], 200)
    low, high = interval(100 * resampled_sums(right, num_samples=2000) / 400)
    assert (low, high) == (pytest.approx(45.1, abs=0.6), pytest.approx(54.9, abs=0.6))
    assert interval(np.arange(101), level=0.5) == (25, 75)


def test_draws_are_paired():
    """The same images are in sample s of any two cells, so what all images share cancels in a difference."""
    counts = np.random.default_rng(0).integers(0, 1000, (30, 3, 4))
    assert np.array_equal(resampled_sums(counts + 7) - resampled_sums(counts), np.full((1000, 3, 4), 210.0))
    assert not np.array_equal(resampled_sums(counts, seed=1), resampled_sums(counts))
