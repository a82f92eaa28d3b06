import numpy as np
import pytest

from mmrobust.evaluation.benchmarks.published import TABLE_IV
from mmrobust.evaluation.functional import (
    bootstrap_interval,
    corruption_degradation,
    mean_iou,
    mean_over_corruptions,
    mean_over_severities,
    retention,
)

CELLS = {('fog', 1): 80.0, ('fog', 2): 60.0, ('snow', 1): 50.0}


def test_every_corruption_counts_once():
    by_corruption = mean_over_severities(CELLS)
    assert by_corruption == {'fog': 70.0, 'snow': 50.0}
    assert mean_over_corruptions(by_corruption) == 60.0
    assert retention(60.0, 80.0) == 75.0


@pytest.mark.parametrize(
    ('model', 'average'), [('FAN-B-Hybrid', 67.08), ('+ TAP', 69.26), ('+ ADL', 69.37), ('+ TAP & ADL', 69.72)]
)
def test_columns_of_table_iv(model, average):
    """The first row's columns do not give the 67.3 that is printed."""
    assert mean_over_corruptions(TABLE_IV[model]['corruptions']) == pytest.approx(average, abs=0.0051)
    if model != 'FAN-B-Hybrid':
        assert TABLE_IV[model]['average'] == pytest.approx(average, abs=0.07)


def test_degradation():
    reference = {('fog', 1): 60.0, ('fog', 2): 40.0, ('snow', 1): 50.0}
    assert corruption_degradation(CELLS, reference) == {'fog': 60.0, 'snow': 100.0}
    assert set(corruption_degradation(CELLS, CELLS).values()) == {100.0}
    with pytest.raises(ValueError, match='same cells, got 3 and 1'):
        corruption_degradation(CELLS, {('fog', 1): 60.0})


def test_nothing_is_left_of_nothing():
    with pytest.raises(ValueError, match='above 0, got 0'):
        retention(0, 0)


def test_bootstrap_covers_a_known_spread():
    """Of images that are all right or all wrong, half and half, the share is binomial: 50 +- 1.96 sqrt(.25 / 400)."""
    counts = np.zeros((400, 2, 2), int)
    counts[:200, 0, 0] = counts[:200, 1, 1] = counts[200:, 0, 1] = counts[200:, 1, 0] = 1
    low, high = bootstrap_interval(counts, lambda total: 100 * np.trace(total) / total.sum(), num_samples=2000)
    assert (low, high) == (pytest.approx(45.1, abs=0.6), pytest.approx(54.9, abs=0.6))
    assert bootstrap_interval(counts, mean_iou, seed=3) == bootstrap_interval(counts, mean_iou, seed=3)
    same = np.repeat(counts[:1], 5, axis=0)
    assert bootstrap_interval(same, mean_iou) == (100.0, 100.0)
