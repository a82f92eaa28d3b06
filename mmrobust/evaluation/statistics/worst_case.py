"""The worst case over several attacks on the same images (Croce et al., ECCV 2024, sec. 3.6)."""

import numpy as np

from mmrobust.evaluation.statistics.iou import mean_iou_of_areas

__all__ = ['worst_by_accuracy', 'worst_by_iou']


def worst_by_accuracy(areas: np.ndarray) -> np.ndarray:
    """Index of the attack that leaves the fewest pixels right, of each image ``(I,)``; the first of equal ones.

    Args:
        areas: ``(A, I, 3, K)`` integers of A attacks: intersection, prediction and label of each class.
    """
    return areas[:, :, 0].sum(-1).argmin(0)


def worst_by_iou(areas: np.ndarray) -> np.ndarray:
    """Index of the attack of each image ``(I,)``, such that the mIoU over all images is low.

    The lowest would need all ``A ** I`` choices. As in the paper, all images begin with the attack of the lowest mIoU;
    then, image by image in random order, another attack is taken where that lowers the mIoU of all, until nothing does.
    The order is drawn from a fixed seed.

    Args:
        areas: ``(A, I, 3, K)`` integers; K are the classes of the mean. It is over those that are in labels or
            predictions.
    """
    number, rng = areas.shape[1], np.random.default_rng(0)
    chosen = np.full(number, mean_iou_of_areas(areas.sum(1)).argmin())
    total = areas[chosen, np.arange(number)].sum(0)
    lowest, lowered = mean_iou_of_areas(total), True
    while lowered:
        lowered = False
        for image in rng.permutation(number):
            totals = total - areas[chosen[image], image] + areas[:, image]
            found = mean_iou_of_areas(totals)
            best = int(found.argmin())
            if found[best] < lowest:
                chosen[image], total, lowest, lowered = best, totals[best], found[best], True
    return chosen
