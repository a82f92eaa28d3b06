"""Cityscapes-C: which classes the means are over."""

import numpy as np
import pytest

from mmrobust.evaluation.benchmarks.cityscapes_c import CityscapesC, summarize
from mmrobust.evaluation.benchmarks.presets import preset_groups, preset_of, select_cells
from mmrobust.evaluation.cells import CLEAN, Cell
from mmrobust.evaluation.counts import Confusion


def test_clean_and_corrupted_are_over_the_same_classes():
    """A class that no label has is predicted in fog only: there it would be a third class of IoU 0."""
    names, groups = ['road', 'car', 'train'], {'weather': ('fog',)}
    clean = np.array([[90, 10, 0], [0, 100, 0], [0, 0, 0]])
    fog = np.array([[80, 0, 20], [0, 100, 0], [0, 0, 0]])
    counts = {
        cell: Confusion.of_matrices({'a.png': matrix, 'b.png': matrix})
        for cell, matrix in ((CLEAN, clean), (Cell('fog', 1), fog))
    }
    found = summarize(counts, groups, names)
    assert found['clean_mIoU'] == pytest.approx((90 + 100 * 100 / 110) / 2)
    assert found['mPC'] == pytest.approx((80 + 100) / 2)
    assert found['mPC_interval'] == pytest.approx((90, 90)), 'the images are alike'
    assert found['classes']['train'] == {'clean': None, 'corrupted': None}
    # what is watched while the benchmark runs is by the same rule
    scores = [CityscapesC.score(None, of) for of in counts.values()]
    assert scores == pytest.approx([found['clean_mIoU'], found['mPC']])
    assert CityscapesC.score(None, Confusion.of_matrices({'a.png': np.zeros((3, 3), np.int64)})) is None


@pytest.mark.parametrize(
    ('cells', 'preset'),
    [
        (select_cells('kamann'), 'kamann'),
        (select_cells('severity5')[::-1], 'severity5'),
        (select_cells('kamann', severities=[5]), 'severity5'),
        (select_cells('severity5', severities=[3]), 'custom'),
        (select_cells('fan', ['fog']), 'custom'),
        ([], 'custom'),
    ],
)
def test_a_preset_is_named_where_its_cells_were_run(cells, preset):
    assert preset_of(cells) == preset


def layout(corruptions, severities, data='Cityscapes val', unlabelled=True):
    """How a run of these cells on a model that is never right is shown."""
    cells = [CLEAN, *select_cells('kamann', corruptions, severities)]
    matrix = np.array([[0, 9, 0], [0, 9, 0], [0, 0, 0 if unlabelled else 9]])
    counts = {cell: Confusion.of_matrices({'a.png': matrix}) for cell in cells}
    results = summarize(counts, preset_groups('kamann'), ['road', 'car', 'train'])
    return CityscapesC.layout(results, {'protocol': {'data_set': data}})


def test_the_page_says_what_was_run():
    shown = layout(['fog', 'snow', 'contrast', 'zoom_blur'], [3])
    tables = {table.section: table.about for table in shown.tables}
    assert 'mean over the 4 corruptions that were run, at severity 3;' in shown.about
    assert tables['corruptions'] == 'At severity 3.'
    assert tables['groups'] == 'Mean over the corruptions of a kind that were run; zoom_blur in none.'
    assert tables['classes'].endswith('mean over the 4 corrupted cells. A dash: the class is not in the labels.')
    assert shown.title == 'Cityscapes-C'
    shown = layout(['fog', 'snow'], [1, 2], 'MiniCity val', unlabelled=False)
    tables = {table.section: table.about for table in shown.tables}
    assert 'over the 2 corruptions that were run, each the mean over its severities;' in shown.about
    assert tables['corruptions'] == 'Mean over the severities that were run.'
    assert tables['groups'].endswith('were run.') and tables['classes'].endswith('over the 4 corrupted cells.')
    assert shown.title == 'Cityscapes-C protocol on MiniCity val'
