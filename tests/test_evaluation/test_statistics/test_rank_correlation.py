import warnings

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from mmrobust.evaluation.statistics import rank_correlation
from mmrobust.evaluation.statistics.bootstrap import interval
from mmrobust.evaluation.statistics.rank_correlation import _kendall, _spearman


def test_by_hand():
    """Of 4 models two neighbours change places: rho 1 - 6 * 2 / (4 * 15), tau (5 - 1) / 6."""
    found = rank_correlation([50, 60, 70, 80], [31, 33, 32, 40])
    assert found.models == 4
    assert found.spearman == pytest.approx(0.8) and found.kendall == pytest.approx(2 / 3)
    low, high = found.spearman_interval
    assert -1 <= low < 0.8 < high <= 1


@pytest.mark.parametrize('ties', [False, True])
def test_samples_are_scipys(ties):
    rng = np.random.default_rng(3)
    x, y = (rng.integers(0, 3, 7) * 1.0 if ties else rng.normal(size=7) for _ in range(2))
    found = rank_correlation(x, y)
    drawn = np.random.default_rng(0).integers(7, size=(1000, 7))
    some = drawn[:60]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # SciPy's about a sample of one number
        rho = [spearmanr(x[of], y[of]).statistic for of in some]
        tau = [kendalltau(x[of], y[of]).statistic for of in some]
    np.testing.assert_allclose(_spearman(x[some], y[some]), rho, atol=1e-12)
    np.testing.assert_allclose(_kendall(x, y, some), tau, atol=1e-12)
    assert found.spearman == pytest.approx(spearmanr(x, y).statistic)
    assert found.kendall == pytest.approx(kendalltau(x, y).statistic)
    assert found.spearman_interval == interval(_spearman(x[drawn], y[drawn]), 7)
    assert found.kendall_interval == interval(_kendall(x, y, drawn), 7)


def test_the_same_order_and_its_reverse():
    numbers = [1.0, 2.0, 4.0, 8.0, 16.0]
    same = rank_correlation(numbers, np.sqrt(numbers))
    assert same.spearman == pytest.approx(1) and same.kendall == pytest.approx(1)
    assert same.spearman_interval == pytest.approx((1, 1)) and same.kendall_interval == pytest.approx((1, 1))
    found = rank_correlation(numbers, numbers[::-1])
    assert found.spearman == pytest.approx(-1) and found.kendall == pytest.approx(-1)


@pytest.mark.parametrize(('x', 'y', 'number'), [([1, 2, 3], [1, 2, 3], 3), ([1, 1, 1, 1], [1, 2, 3, 4], 4)])
def test_too_few_models_or_one_number_for_all(x, y, number):
    found = rank_correlation(x, y)
    assert found == (number, None, (None, None), None, (None, None))


def test_other_lengths():
    with pytest.raises(ValueError, match=r'one number for each model, got \(4,\) and \(5,\)'):
        rank_correlation([1, 2, 3, 4], [1, 2, 3, 4, 5])
