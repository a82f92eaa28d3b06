import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from mmrobust.evaluation.functional import class_iou, confusion_matrix, mean_iou

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


@pytest.mark.parametrize(
    ('label', 'prediction', 'message'),
    [
        (LABEL, PREDICTION[:1], r'\(2, 3\) and \(1, 3\)'),
        (LABEL + 1, PREDICTION, 'label must hold 0 to 2, got 1 to 256'),
        (LABEL, PREDICTION + 1, 'prediction must hold 0 to 2, got 1 to 3'),
    ],
)
def test_bad_input(label, prediction, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(label, prediction, 3)
