"""mPC, retention and CD from the mIoU of each corruption and severity."""

from collections.abc import Mapping
from typing import Any

import numpy as np

# mIoU in percent of (corruption, severity)
Cells = Mapping[tuple[str, int], float]


def mean_over_severities(cells: Mapping[tuple[str, int], Any]) -> dict[str, Any]:
    """mIoU of each corruption: the mean over its severities, corruptions in the order of the cells.

    The values are numbers, or arrays of bootstrap samples, of which sample by sample the mean is taken.
    """
    by_corruption: dict[str, list[Any]] = {}
    for (corruption, _), value in cells.items():
        by_corruption.setdefault(corruption, []).append(value)
    return {corruption: np.mean(values, axis=0) for corruption, values in by_corruption.items()}


def mean_over_corruptions(by_corruption: Mapping[str, Any]) -> Any:
    """mPC, the mean performance under corruption: every corruption counts once, however many severities it has.

    Michaelis et al. 2019; Kamann and Rother 2020; the "Average" of the paper's Table IV. Numbers or arrays, as in
    :func:`mean_over_severities`.
    """
    return np.mean(list(by_corruption.values()), axis=0)


def retention(corrupted: float, clean: float) -> float | None:
    """rPC in percent: how much of the clean mIoU is left under corruption; None if that is 0."""
    return 100 * corrupted / clean if clean else None


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
