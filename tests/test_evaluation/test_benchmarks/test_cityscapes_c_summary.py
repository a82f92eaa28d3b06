"""Cityscapes-C: which classes the means are over."""

import numpy as np
import pytest

from mmrobust.evaluation.benchmarks.cityscapes_c import summarize
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
