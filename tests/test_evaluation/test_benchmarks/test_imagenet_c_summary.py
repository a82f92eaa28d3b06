import csv
import io

import numpy as np
import pytest

from mmrobust.corruptions import EXTRA, GROUPS
from mmrobust.evaluation.benchmarks.imagenet_c import ImageNetC, summarize
from mmrobust.evaluation.cells import CLEAN, Cell
from mmrobust.evaluation.counts import Predictions
from mmrobust.evaluation.renderers import to_csv, to_markdown
from mmrobust.evaluation.report import Report
from mmrobust.evaluation.statistics import ALEXNET_CLEAN_ERROR, ALEXNET_ERRORS

FIFTEEN = [name for names in GROUPS.values() for name in names]
CELLS = [Cell(name, severity) for name in FIFTEEN for severity in (1, 2, 3, 4, 5)]


def _result(wrong, total=1000):
    return Predictions({f'{index}.png': (0, int(index < wrong)) for index in range(total)})


def _counts(cells, wrong_of, clean):
    return {CLEAN: _result(clean), **{cell: _result(wrong_of(cell)) for cell in cells}}


def _report(summary):
    provenance = {'corrupted': 'official', 'num_images': 50_000}
    return Report(ImageNetC.layout(summary, provenance), summary, provenance)


def test_alexnets_own_errors_give_100():
    """Rounded to whole images of a thousand, AlexNet's errors give 100 to within rounding."""
    store = _counts(CELLS, lambda cell: round(10 * ALEXNET_ERRORS[cell]), round(10 * ALEXNET_CLEAN_ERROR))
    summary = summarize(store, 'AlexNet')
    assert summary['mCE'] == pytest.approx(100, abs=0.02) and summary['relative_mCE'] == pytest.approx(100, abs=0.2)
    low, high = summary['mCE_interval']
    assert low < 100 < high
    assert set(summary['corruptions']) == set(FIFTEEN)


def test_by_hand_against_a_reference():
    """Everywhere 30% wrong, 10% clean; the reference 40% and 20%: CE 75, relative CE 100."""
    store = _counts(CELLS, lambda cell: 300, 100)
    other = _counts(CELLS, lambda cell: 400, 200)
    reference = {'results': summarize(other, None)}
    assert reference['results']['mCE'] is None and reference['results']['mean_error'] == pytest.approx(40)
    summary = summarize(store, 'resnet', reference)
    assert summary['mCE'] == pytest.approx(75) and summary['relative_mCE'] == pytest.approx(100)
    assert summary['mean_error'] == pytest.approx(30) and summary['clean_error'] == pytest.approx(10)
    draws = summary['bootstrap']['mCE']
    assert len(draws) == 1000 and np.mean(draws) == pytest.approx(75, abs=1)


def test_extras_are_in_no_mean():
    extras = [Cell(name, severity) for name in EXTRA for severity in (1, 2, 3, 4, 5)]
    store = _counts(CELLS + extras, lambda cell: 900 if cell.name in EXTRA else 300, 100)
    summary = summarize(store, 'AlexNet')
    alone = summarize({cell: of for cell, of in store.items() if cell not in extras}, 'AlexNet')
    for key in ('mCE', 'relative_mCE', 'mean_error'):
        assert summary[key] == pytest.approx(alone[key])
    assert summary['corruptions']['saturate']['extra'] and summary['corruptions']['saturate']['error'] == 90
    assert 'saturate (extra, in no mean)' in to_markdown(_report(summary), 'title')


def test_part_of_the_benchmark_has_no_mce():
    cells = [Cell('fog', 1), Cell('fog', 5), Cell('snow', 5)]
    summary = summarize(_counts(cells, lambda cell: 100 * cell.severity, 100), 'AlexNet')
    assert summary['mCE'] is None and summary['relative_mCE'] is None
    assert summary['corruptions']['fog'] == {'error': 30.0, 'CE': None, 'relative_CE': None, 'extra': False}
    assert summary['mean_error'] == pytest.approx((30 + 50) / 2)
    rows = list(csv.DictReader(io.StringIO(to_csv(_report(summary)))))
    assert [(row['corruption'], row['severity'], float(row['error'])) for row in rows] == [
        ('clean', '0', 10), ('fog', '1', 10), ('fog', '5', 50), ('snow', '5', 50)
    ]  # fmt: skip
    assert '| 10.00 (' in to_markdown(_report(summary), 'title') and ' | - | - | 40.00 (' in to_markdown(
        _report(summary), 'title'
    )


def test_nothing_is_divided_by_a_reference_without_errors():
    """The reference has no error on fog, and on snow not more than on clean images."""
    cells = [Cell(name, severity) for name in ('fog', 'snow', 'frost') for severity in (1, 2, 3, 4, 5)]
    other = _counts(cells, lambda cell: dict(fog=0, snow=100, frost=400)[cell.name], 100)
    reference = {'results': summarize(other, None)}
    found = summarize(_counts(cells, lambda cell: 200, 0), 'resnet', reference)['corruptions']
    assert [found[name]['CE'] for name in ('fog', 'snow', 'frost')] == [None, 200, 50]
    assert [found[name]['relative_CE'] for name in ('fog', 'snow', 'frost')] == [None, None, pytest.approx(200 / 3)]
