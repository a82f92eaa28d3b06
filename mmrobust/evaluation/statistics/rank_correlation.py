"""Whether two benchmarks put the same models in the same order: Spearman's rho and Kendall's tau-b, with intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau, rankdata, spearmanr

from mmrobust.evaluation.statistics.bootstrap import interval

FEWEST_MODELS = 4  # with 3 there are 6 orders, and chance alone gives the same one in a sixth of the cases


class RankCorrelation(NamedTuple):
    """Correlation of two rankings of the same models.

    Attributes:
        models: number of models that have both numbers.
        spearman: rho, -1 to 1; None below 4 models, or where all models have one number.
        spearman_interval: 95% interval, bootstrap over models; ``(None, None)`` if there is none.
        kendall: tau-b, -1 to 1; None in the same cases.
        kendall_interval: of that.
    """

    models: int
    spearman: float | None = None
    spearman_interval: tuple[float | None, float | None] = (None, None)
    kendall: float | None = None
    kendall_interval: tuple[float | None, float | None] = (None, None)


def rank_correlation(first: Sequence[float], second: Sequence[float], num_samples: int = 1000) -> RankCorrelation:
    """Correlate two numbers of the same models, by rank.

    In each of the S bootstrap samples n models are drawn of n with replacement, the same for all numbers of as many
    models; samples in which all models have one number are left out.

    Args:
        first: ``(n,)``.
        second: ``(n,)``, of the same models in the same order.
        num_samples: S.

    Raises:
        ValueError: they are not as many.
    """
    x, y = np.asarray(first, float), np.asarray(second, float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f'both must have one number for each model, got {x.shape} and {y.shape}')
    number = len(x)
    if number < FEWEST_MODELS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return RankCorrelation(number)
    drawn = np.random.default_rng(0).integers(number, size=(num_samples, number))
    return RankCorrelation(
        number,
        float(spearmanr(x, y).statistic),
        interval(_spearman(x[drawn], y[drawn]), number),
        float(kendalltau(x, y).statistic),
        interval(_kendall(x, y, drawn), number),
    )


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rho of each row ``(S, n)``; NaN for a row of one number. SciPy takes one row at a time."""
    x, y = (rankdata(of, axis=1) - (of.shape[1] + 1) / 2 for of in (x, y))
    spread = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return (x * y).sum(1) / np.where(spread, spread, np.nan)


def _kendall(x: np.ndarray, y: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of each sample ``(S, n)`` of indices: sums over pairs, each as often as it was drawn."""
    above_x, above_y = (np.sign(of[:, None] - of[None]) for of in (x, y))
    times = np.stack([(drawn == index).sum(1) for index in range(len(x))], axis=1).astype(float)
    both, of_x, of_y = (
        np.einsum('si,ij,sj->s', times, of, times, optimize=True)
        for of in (above_x * above_y, abs(above_x), abs(above_y))
    )
    spread = np.sqrt(of_x * of_y)
    return both / np.where(spread, spread, np.nan)
