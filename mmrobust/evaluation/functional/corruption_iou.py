"""From the mIoU of each corruption and severity to one number for a benchmark."""

from collections.abc import Callable, Mapping

import numpy as np

# mIoU in percent of (corruption, severity)
Cells = Mapping[tuple[str, int], float]


def mean_over_severities(cells: Cells) -> dict[str, float]:
    """mIoU of each corruption: the mean over its severities, corruptions in the order of the cells."""
    by_corruption: dict[str, list[float]] = {}
    for (corruption, _), value in cells.items():
        by_corruption.setdefault(corruption, []).append(value)
    return {corruption: float(np.mean(values)) for corruption, values in by_corruption.items()}


def mean_over_corruptions(by_corruption: Mapping[str, float]) -> float:
    """mPC, the mean performance under corruption: every corruption counts once, however many severities it has.

    Michaelis et al. 2019; Kamann and Rother 2020; the "Average" of the paper's Table IV.
    """
    return float(np.mean(list(by_corruption.values())))


def retention(corrupted: float, clean: float) -> float:
    """rPC in percent: how much of the clean mIoU is left under corruption.

    Raises:
        ValueError: the clean mIoU is not above 0.
    """
    if not clean > 0:
        raise ValueError(f'the clean mIoU must be above 0, got {clean}')
    return 100 * corrupted / clean


def corruption_degradation(cells: Cells, reference: Cells) -> dict[str, float]:
    """CD of each corruption in percent: ``sum_s (100 - mIoU) / sum_s (100 - mIoU of the reference model)``.

    Kamann and Rother 2020; the analogue of ImageNet-C's CE, with a reference of one's own choice.

    Raises:
        ValueError: the two do not hold the same cells.
    """
    if set(cells) != set(reference):
        raise ValueError(f'both models need the same cells, got {len(cells)} and {len(reference)}')
    return {
        corruption: 100
        * sum(100 - value for (name, _), value in cells.items() if name == corruption)
        / sum(100 - value for (name, _), value in reference.items() if name == corruption)
        for corruption in dict.fromkeys(name for name, _ in cells)
    }


def bootstrap_interval(
    counts: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    num_samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic of summed counts, by drawing images with replacement.

    Args:
        counts: ``(num_images, ...)`` counts of each image.
        statistic: of the counts summed over images, such as ``mean_iou``.
        num_samples: bootstrap samples.
        level: share of the samples inside the interval, in (0, 1).
        seed: seed of the draws.

    Returns:
        Lower and upper end.
    """
    rng = np.random.default_rng(seed)
    num_images = len(counts)
    flat = counts.reshape(num_images, -1)
    # how often each image is in a sample; a sum over images is then a matrix product
    times = rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=num_samples)
    sums = (times @ flat).reshape(num_samples, *counts.shape[1:])
    values = [statistic(total) for total in sums]
    tail = 100 * (1 - level) / 2
    return float(np.percentile(values, tail)), float(np.percentile(values, 100 - tail))
