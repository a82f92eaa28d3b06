from itertools import product

import numpy as np
import pytest

from mmrobust.evaluation.statistics import worst_by_accuracy, worst_by_iou


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
