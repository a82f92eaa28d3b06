import csv
import html
import io
import json

import numpy as np
import pytest

from mmrobust.evaluation.benchmarks.acdc import ACDC, summarize
from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.counts import Confusion
from mmrobust.evaluation.renderers import to_csv, to_markdown, to_terminal
from mmrobust.evaluation.report import Report
from mmrobust.evaluation.results_page import to_html

KNOWN = dict(split='val', num_images=3, trained_on='Cityscapes train, as its checkpoint says')


@pytest.fixture
def summary():
    """Fog: class 0 is right on 80 of 100 pixels, the rest goes to class 1. Night: 300 pixels of class 1, all right."""
    fog = {'a': np.array([[50, 0, 0], [0, 0, 0], [0, 0, 0]]), 'b': np.array([[30, 20, 0], [0, 0, 0], [0, 0, 0]])}
    night = {'c': np.array([[0, 0, 0], [0, 300, 0], [0, 0, 0]])}
    counts = {Cell('fog'): Confusion.of_matrices(fog), Cell('night'): Confusion.of_matrices(night)}
    return summarize(counts, ['road', 'car', 'train'])


def test_mean_of_conditions_is_not_the_pooled_one(summary):
    assert summary['conditions']['fog']['mIoU'] == pytest.approx((80 + 0) / 2)
    assert summary['conditions']['night']['mIoU'] == 100
    assert summary['mean_mIoU'] == pytest.approx(70)
    assert summary['pooled_mIoU'] == pytest.approx((80 + 100 * 300 / 320) / 2)
    assert summary['classes'] == {
        'road': {'fog': pytest.approx(80), 'night': None, 'pooled': pytest.approx(80)},
        'car': {'fog': 0, 'night': 100, 'pooled': pytest.approx(93.75)},
        'train': {'fog': None, 'night': None, 'pooled': None},
    }


def test_draws_without_a_label_are_left_out():
    """Of two images one is labelled, and a quarter of the draws has only the other."""
    counts = Confusion.of_matrices({'a': np.array([[50, 50], [0, 0]]), 'b': np.zeros((2, 2), np.int64)})
    found = summarize({Cell('fog'): counts}, ['road', 'car'])
    assert found['conditions']['fog']['mIoU_interval'] == found['pooled_mIoU_interval'] == (25, 25)
    draws = found['bootstrap']['pooled_mIoU']
    assert set(draws) == {25, None} and 200 < draws.count(None) < 300


def test_interval_draws_within_each_condition(summary):
    """Fog draws a twice, b twice, or both: mIoU 100, 30 or 40. Night has one image: no interval."""
    assert summary['conditions']['fog']['mIoU_interval'] == (30, 100)
    assert summary['conditions']['night']['mIoU_interval'] == (None, None)
    road, car = 100 * 60 / 100, 100 * 300 / 340
    assert summary['pooled_mIoU_interval'] == (pytest.approx((road + car) / 2), 100)
    assert len(summary['bootstrap']['pooled_mIoU']) == 1000


def test_tables(summary):
    report = Report(ACDC.layout(summary, KNOWN), summary, KNOWN)
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert [row['condition'] for row in rows] == ['fog', 'night', 'pooled']
    assert float(rows[0]['mIoU']) == pytest.approx(40) and float(rows[0]['mIoU_high']) == 100
    page = to_markdown(report, 'model on acdc')
    assert '| fog | night | mean | pooled |' in page and '| 40.00 | 100.00 | 70.00 | 86.88 |' in page
    assert '| train | - | - | - |' in page


def test_split_and_training_data_are_said(summary):
    said = 'The model was trained on: Cityscapes train, as its checkpoint says.'
    mini = {'protocol': {'data_set': 'MiniCity val'}}
    for provenance, title, sentence in (
        (KNOWN, 'ACDC val', f'Split: val, 3 images of ACDC. {said}'),
        (KNOWN | mini, 'ACDC protocol on MiniCity val', f'Split: val, 3 images of MiniCity val. {said}'),
    ):
        report = Report(ACDC.layout(summary, provenance), summary, provenance)
        assert report.layout.title == title
        for text in (to_terminal(report, 'x'), to_markdown(report, 'x'), html.unescape(to_html({'a': [report]}))):
            assert sentence in text
        assert sentence in json.loads(report.to_json())['layout']['sentences']


def test_sentences_are_true_for_this_run(summary):
    """Class 1 is predicted in the fog and in no label there, so a dash is for class 2; one condition has no mean."""
    shown = ACDC.layout(summary, KNOWN)
    assert 'The mean is that of the 2 conditions; pooled is' in shown.about
    (classes,) = (table.about for table in shown.tables if table.section == 'classes')
    assert classes.endswith('A dash: the class is in neither the labels nor the predictions of these images.')
    fog = Confusion.of_matrices({'a': np.array([[50, 5], [0, 5]])})
    shown = ACDC.layout(summarize({Cell('fog'): fog}, ['road', 'car']), KNOWN)
    (classes,) = (table.about for table in shown.tables if table.section == 'classes')
    assert 'The mean' not in shown.about and 'dash' not in classes
