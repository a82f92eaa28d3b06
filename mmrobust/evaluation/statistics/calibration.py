"""Calibration of a segmentation model from integer counts of pixels by confidence, which add up exactly.

The confidence of a pixel is its largest softmax probability, kept as a level, one of ``LEVELS`` equal parts of 0 to 1.
"""

import numpy as np

LEVELS = 30_000  # fits int16; a multiple of BINS, so that a bin is whole levels
BINS = 15  # of equal width, as in Guo et al., On Calibration of Modern Neural Networks, ICML 2017
# First level of each step by which pixels can be rejected. The doubt, 1 - confidence, falls by the same factor from
# step to step: most pixels of a trained model are above 0.99, and equal steps would not tell them apart.
STEPS = np.unique(np.round(LEVELS * (1 - float(LEVELS) ** -np.linspace(0, 1, 128)))).astype(np.int64)
_STEP_OF_LEVEL = np.searchsorted(STEPS, np.arange(LEVELS), 'right') - 1


def confidence_counts(
    levels: np.ndarray, label: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int = 255
) -> tuple[np.ndarray, np.ndarray]:
    """Count the labelled pixels of an image by confidence.

    Args:
        levels: ``(H, W)`` integer, 0 to ``LEVELS - 1``.
        label: ``(H, W)`` integer, 0 to ``num_classes - 1`` or ``ignore_index``, which is not counted.
        prediction: ``(H, W)`` integer, 0 to ``num_classes - 1``.
        num_classes: K.
        ignore_index: label that belongs to no class.

    Returns:
        ``(3, BINS)`` int64 by bin: pixels, right pixels, sum of the levels; and ``(len(STEPS), 3, K)`` int64 by step
        and class: intersection, prediction and label.

    Raises:
        ValueError: the shapes differ, or a level is out of range.
    """
    if not levels.shape == label.shape == prediction.shape:
        raise ValueError(
            f'levels, label and prediction must have one shape, got {levels.shape}, {label.shape}, {prediction.shape}'
        )
    judged = label != ignore_index
    levels, label, prediction = (of[judged].astype(np.int64) for of in (levels, label, prediction))
    if levels.min(initial=0) < 0 or levels.max(initial=0) >= LEVELS:
        raise ValueError(
            f'levels must be 0 to {LEVELS - 1}, got {levels.min()} to {levels.max()}: below 0 the logits were NaN'
        )
    steps, right, size = _STEP_OF_LEVEL[levels] * num_classes, label == prediction, len(STEPS) * num_classes
    areas = [
        np.bincount(of, minlength=size).reshape(-1, num_classes)
        for of in (steps[right] + label[right], steps + prediction, steps + label)
    ]
    bins = levels // (LEVELS // BINS)
    found = [np.bincount(of, minlength=BINS) for of in (bins, bins[right])]
    sums = np.bincount(bins, weights=levels, minlength=BINS)  # exact below 2 ** 53
    return np.stack([*found, sums.astype(np.int64)]), np.stack(areas, 1)


def expected_calibration_error(counts: np.ndarray) -> np.ndarray:
    """ECE in percent: the mean over pixels of the gap between accuracy and mean confidence of their bin.

    Args:
        counts: ``(..., 3, BINS)`` pixels, right pixels, sum of the levels.

    Returns:
        ``(...)``, 0 to 100; NaN where there is no pixel.
    """
    pixels = counts[..., 0, :].sum(-1)
    gaps = np.abs(counts[..., 1, :] - _confidence(counts))
    return 100 * gaps.sum(-1) / np.where(pixels, pixels, np.nan)


def reliability(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean confidence and accuracy of each bin, in percent.

    Args:
        counts: ``(..., 3, BINS)`` as above.

    Returns:
        Two ``(..., BINS)``; NaN for a bin without pixels.
    """
    pixels = np.where(counts[..., 0, :], counts[..., 0, :], np.nan)
    return 100 * _confidence(counts) / pixels, 100 * counts[..., 1, :] / pixels


def kept_areas(areas: np.ndarray, share: float) -> np.ndarray:
    """What is left when the least confident pixels are rejected.

    Pixels of one step are not told apart: of the step in which the share ends, as many of each kind as their part of
    it are rejected, which is the expectation if they are chosen at random.

    Args:
        areas: ``(len(STEPS), 3, K)`` by step and class: intersection, prediction, label.
        share: of all pixels that is rejected, 0 to 1.

    Returns:
        ``(3, K)`` float64.
    """
    pixels = areas[:, 2].sum(-1).astype(np.float64)
    before = np.cumsum(pixels) - pixels
    rejected = np.clip((share * pixels.sum() - before) / np.where(pixels, pixels, 1), 0, 1)
    return np.tensordot(1 - rejected, areas, 1)


def _confidence(counts: np.ndarray) -> np.ndarray:
    """Sum of the confidences of each bin; a level stands for its middle."""
    return (counts[..., 2, :] + counts[..., 0, :] / 2) / LEVELS
