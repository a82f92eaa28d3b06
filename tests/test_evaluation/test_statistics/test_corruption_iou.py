import pytest

from mmrobust.evaluation.statistics import (
    corruption_degradation,
    mean_over_corruptions,
    mean_over_severities,
    retention,
)
from mmrobust.model_zoo.paper_tables import paper_models

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
    row = paper_models('IV', 'cityscapes-c/', {})[model]
    assert mean_over_corruptions(row) == pytest.approx(average, abs=0.0051)
    if model != 'FAN-B-Hybrid':
        assert paper_models('IV', 'none/', {'average': 'cityscapes-c'})[model]['average'] == pytest.approx(
            average, abs=0.07
        )


def test_degradation():
    reference = {('fog', 1): 60.0, ('fog', 2): 40.0, ('snow', 1): 50.0}
    assert corruption_degradation(CELLS, reference) == {'fog': 60.0, 'snow': 100.0}
    assert set(corruption_degradation(CELLS, CELLS).values()) == {100.0}
    with pytest.raises(ValueError, match='same cells, got 3 and 1'):
        corruption_degradation(CELLS, {('fog', 1): 60.0})


def test_nothing_is_left_of_nothing():
    assert retention(0, 0) is None
