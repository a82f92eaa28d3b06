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
    counted = label != ignore_index
    label, prediction = label[counted].astype(np.int64), prediction[counted].astype(np.int64)
    for name, values in (('label', label), ('prediction', prediction)):
        if values.size and not (values.min() >= 0 and values.max() < num_classes):
            raise ValueError(f'{name} must hold 0 to {num_classes - 1}, got {values.min()} to {values.max()}')
    counts = np.bincount(num_classes * label + prediction, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """IoU of each class in percent: ``(..., K, K)`` counts to ``(..., K)``, NaN for a class that is nowhere."""
    return iou_of_areas(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-2), confusion.sum(-1))


def iou_of_areas(intersection: np.ndarray, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """IoU in percent from pixel counts of one shape, NaN where there is neither prediction nor label."""
    union = prediction + label - intersection
    with np.errstate(invalid='ignore'):
        return 100 * intersection / np.where(union, union, np.nan)


def mean_iou(confusion: np.ndarray) -> float:
    """mIoU in percent: the mean over the classes that occur, as in MMSegmentation's ``IoUMetric``."""
    return float(np.nanmean(class_iou(confusion)))
