import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from mmrobust.evaluation.statistics import class_iou, confusion_matrix, mean_iou

LABEL = np.array([[0, 0, 1], [1, 255, 2]])
PREDICTION = np.array([[0, 1, 1], [0, 2, 2]])


def test_hand_computed():
    confusion = confusion_matrix(LABEL, PREDICTION, 4)
    assert confusion.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(class_iou(confusion), [100 / 3, 100 / 3, 100, np.nan])
    assert mean_iou(confusion) == pytest.approx(500 / 9)


def test_equals_mmseg():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 19, (2, 3, 40, 50))
    labels[labels == 7] = 255
    results = [
        IoUMetric.intersect_and_union(torch.from_numpy(p), torch.from_numpy(y), 19, 255)
        for p, y in zip(predictions, labels, strict=True)
    ]
    intersection, union = (sum(parts).numpy() for parts in list(zip(*results, strict=True))[:2])
    confusion = sum(confusion_matrix(y, p, 19) for p, y in zip(predictions, labels, strict=True))
    np.testing.assert_allclose(class_iou(confusion), 100 * intersection / union)


@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize('ignore_index', [255, 5, 2, -1])
def test_equals_counting_one_by_one(ignore_index, dtype):
    rng = np.random.default_rng(0)
    label, prediction = rng.integers(0, 5, (2, 6, 7)).astype(dtype)
    if ignore_index >= 0 or dtype != np.uint8:
        label[rng.random(label.shape) < 0.3] = ignore_index
    expected = np.zeros((5, 5), np.int64)
    for row, column in zip(label.ravel(), prediction.ravel(), strict=True):
        if row != ignore_index:
            expected[row, column] += 1
    counts = confusion_matrix(label, prediction, 5, ignore_index)
    assert np.array_equal(counts, expected) and counts.dtype == np.int64


@pytest.mark.parametrize(
    ('label', 'prediction', 'message'),
    [
        (LABEL, PREDICTION[:1], r'\(2, 3\) and \(1, 3\)'),
        (LABEL + 1, PREDICTION, 'label must hold 0 to 2, got 1 to 256'),
        (np.where(LABEL == 2, 3, LABEL), PREDICTION, 'label must hold 0 to 2, got 0 to 3'),
        (np.where(LABEL == 255, -1, LABEL), PREDICTION, 'label must hold 0 to 2, got -1 to 2'),
        (LABEL, PREDICTION + 1, 'prediction must hold 0 to 2, got 1 to 3'),
    ],
)
def test_bad_input(label, prediction, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(label, prediction, 3)
