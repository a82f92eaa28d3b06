from itertools import product

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from mmrobust.evaluation.statistics import class_iou, confusion_matrix, mean_iou, worst_by_accuracy, worst_by_iou

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


def _areas(attacks, images, classes=3, seed=0):
    """Counts of random confusion matrices, whose labels are the same under each attack."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(1, 40, (images, classes))
    shares = rng.dirichlet(np.ones(classes) / 2, (attacks, images, classes))
    matrices = np.array([[[rng.multinomial(n, p) for n, p in zip(labels[i], shares[a, i], strict=True)]
                          for i in range(images)] for a in range(attacks)])  # fmt: skip
    return np.stack([np.diagonal(matrices, axis1=-2, axis2=-1), matrices.sum(-2), matrices.sum(-1)], 2)


def _miou(areas, chosen):
    intersection, prediction, label = areas[list(chosen), range(areas.shape[1])].sum(0)
    return 100 * np.mean(intersection / (prediction + label - intersection))


@pytest.mark.parametrize('seed', range(8))
def test_greedy_choice(seed):
    """Never above the best single attack, nor above any choice that differs in one image; near the lowest of all."""
    areas = _areas(3, 5, seed=seed)
    chosen = worst_by_iou(areas)
    found = _miou(areas, chosen)
    assert found <= min(_miou(areas, [attack] * 5) for attack in range(3))
    for image, attack in product(range(5), range(3)):
        assert found <= _miou(areas, [*chosen[:image], attack, *chosen[image + 1 :]]) + 1e-12
    lowest = min(_miou(areas, choice) for choice in product(range(3), repeat=5))
    assert lowest <= found + 1e-12 and found < lowest + 2
    assert np.array_equal(worst_by_iou(areas), chosen)


def test_choice_by_accuracy_is_that_of_each_image():
    areas = _areas(4, 6)
    right = areas[:, :, 0].sum(-1)
    assert right[worst_by_accuracy(areas), range(6)].tolist() == right.min(0).tolist()


def test_one_attack_is_its_own_worst_case():
    areas = _areas(1, 4)
    assert worst_by_iou(areas).tolist() == worst_by_accuracy(areas).tolist() == [0] * 4


def test_images_without_a_label():
    areas = _areas(2, 3)
    areas[:, 1] = 0
    assert worst_by_iou(areas).shape == (3,)
    assert worst_by_iou(0 * areas).tolist() == [0] * 3
