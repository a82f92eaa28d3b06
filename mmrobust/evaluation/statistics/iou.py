"""Intersection over union from integer counts, which add up exactly over images, processes and shards."""

import numpy as np


def confusion_matrix(
    label: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int = 255
) -> np.ndarray:
    """Count pixels by label (rows) and prediction (columns).

    Args:
        label: ``(H, W)`` integer, 0 to ``num_classes - 1`` or ``ignore_index``, which is not counted.
        prediction: ``(H, W)`` integer, 0 to ``num_classes - 1``.
        num_classes: number of classes.
        ignore_index: label that belongs to no class.

    Returns:
        ``(num_classes, num_classes)`` int64.

    Raises:
        ValueError: the shapes differ, or a value is no class.
    """
    if label.shape != prediction.shape:
        raise ValueError(f'label and prediction must have one shape, got {label.shape} and {prediction.shape}')
    # labels to ignore are counted too, in a row of their own: faster than picking out the other pixels
    low, high = min(0, ignore_index), max(num_classes - 1, ignore_index)
    if label.min(initial=0) < low or label.max(initial=0) > high:
        raise _no_class('label', label[label != ignore_index], num_classes)
    if prediction.min(initial=0) < 0 or prediction.max(initial=0) >= num_classes:
        raise _no_class('prediction', prediction, num_classes)
    pairs = np.multiply(label, num_classes, dtype=np.int64)
    pairs += prediction
    pairs -= low * num_classes
    counts = np.bincount(pairs.ravel(), minlength=num_classes * (high - low + 1)).reshape(-1, num_classes)
    counts[ignore_index - low] = 0
    confusion = counts[-low : num_classes - low]
    if confusion.sum() != counts.sum():
        raise _no_class('label', label[label != ignore_index], num_classes)
    return confusion


def _no_class(name: str, values: np.ndarray, num_classes: int) -> ValueError:
    return ValueError(f'{name} must hold 0 to {num_classes - 1}, got {values.min()} to {values.max()}')


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """IoU of each class in percent: ``(..., K, K)`` counts to ``(..., K)``, NaN for a class that is nowhere."""
    return iou_of_areas(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-2), confusion.sum(-1))


def iou_of_areas(intersection: np.ndarray, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """IoU in percent from pixel counts of one shape, NaN where there is neither prediction nor label."""
    union = prediction + label - intersection
    with np.errstate(invalid='ignore'):
        return 100 * intersection / np.where(union, union, np.nan)


def mean_iou_of_areas(areas: np.ndarray) -> np.ndarray:
    """mIoU in percent of ``(..., 3, K)`` intersection, prediction and label; NaN where nothing is labelled."""
    ious = iou_of_areas(areas[..., 0, :], areas[..., 1, :], areas[..., 2, :])
    there = ~np.isnan(ious)
    return np.where(there, ious, 0).sum(-1) / np.where(there.any(-1), there.sum(-1), np.nan)


def mean_iou(confusion: np.ndarray, classes: np.ndarray | slice = slice(None)) -> float:
    """mIoU in percent: the mean over the classes that occur, as in MMSegmentation's ``IoUMetric``.

    Args:
        confusion: ``(K, K)`` counts.
        classes: which of them to take, ``(K,)`` bool; by default those in labels or predictions.
    """
    return float(np.nanmean(class_iou(confusion)[classes]))


def worst_by_accuracy(areas: np.ndarray) -> np.ndarray:
    """Index of the attack that leaves the fewest pixels right, of each image ``(I,)``; the first of equal ones.

    Args:
        areas: ``(A, I, 3, K)`` integers of A attacks: intersection, prediction and label of each class.
    """
    return areas[:, :, 0].sum(-1).argmin(0)


def worst_by_iou(areas: np.ndarray) -> np.ndarray:
    """Index of the attack of each image ``(I,)``, such that the mIoU over all images is low.

    The lowest would need all ``A ** I`` choices. As in Croce et al., ECCV 2024, sec. 3.6, all images begin with the
    attack of the lowest mIoU; then, image by image in random order, another attack is taken where that lowers the mIoU
    of all, until nothing does. The order is drawn from a fixed seed.

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
