"""Intervals over images: bootstrap, by sequences where images are frames of some; Wilson's for a rate.

The model stays as it is, so an interval says nothing about another training run.
"""

# S bootstrap samples, N images, U units: images, or sequences of them

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

INTERVAL_LEVEL = 0.95
_SCHEME = 'units'  # part of the hash: samples that were drawn in another way do not pair with these
_BLOCK = 64  # samples at a time: 25 MB for the 50000 images of ImageNet


class Bootstrap:
    """Draws units with replacement, U of U, and sums the counts of their images.

    The draws depend on the names of the units only. So sample s of one cell holds the same units as sample s of another
    cell, or of another model, on the same units: a mean or a difference of them, sample by sample, is a paired one.

    Args:
        names: of the images, in any order.
        unit_of: name of an image to that of its unit, such as the sequence whose frames resemble each other; None:
            images are independent.
        num_samples: S.

    Attributes:
        units: U.
    """

    def __init__(
        self, names: Iterable[str], unit_of: Callable[[str], str] | None = None, num_samples: int = 1000
    ) -> None:
        self.names, self.num_samples = sorted(names), num_samples
        units, self._unit = np.unique([unit_of(name) if unit_of else name for name in self.names], return_inverse=True)
        self.units = len(units)
        self._seed = int(_digest(units)[:16], 16)

    def sums(self, counts: np.ndarray) -> np.ndarray:
        """Sums of each sample, ``(S, ...)``, float64 but exact below 2 ** 53.

        Args:
            counts: ``(N, ...)``, in the order of the sorted names.
        """
        flat = np.zeros((self.units, counts[0].size))
        np.add.at(flat, self._unit, counts.reshape(len(counts), -1).astype(np.float64))
        rng = np.random.default_rng(self._seed)
        sums = np.empty((self.num_samples, flat.shape[1]))
        for start in range(0, self.num_samples, _BLOCK):
            rows = sums[start : start + _BLOCK]
            # how often each unit is in a sample; a sum over units is then a matrix product
            times = [np.bincount(rng.integers(self.units, size=self.units), minlength=self.units) for _ in rows]
            rows[:] = np.array(times, np.float64) @ flat
        return sums.reshape(self.num_samples, *counts.shape[1:])

    def interval(self, samples: np.ndarray) -> tuple[float | None, float | None]:
        """Interval of the samples of a number, see :func:`interval`."""
        return interval(samples, self.units)

    def record(self, **samples: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Samples for JSON, rounded to 1e-4 points and None for NaN, with U and a hash of names and units.

        Two runs with the same hash drew the same images for sample s, so their differences are paired.
        """
        rounded = {key: _rounded(values) for key, values in samples.items()}
        return {'images_sha256': _digest([_SCHEME, str(self._seed), *self.names]), 'units': self.units, **rounded}


def interval(samples: np.ndarray, units: int, level: float = INTERVAL_LEVEL) -> tuple[float | None, float | None]:
    """Expanded percentile interval ``(low, high)`` of S samples; both None if there is one unit only, or no number.

    Percentiles alone are too narrow for few units: the spread of samples is too small by sqrt((U - 1) / U), and their
    tails are a normal's where a t distribution's are right (Hesterberg, The American Statistician 69, 2015, 3.3).

    Args:
        samples: ``(S,)``; NaN where a sample leaves the number undefined, and is left out.
        units: U, how many were drawn for a sample.
        level: share of them inside, in (0, 1), for many units.
    """
    samples = np.asarray(samples)[~np.isnan(samples)]
    if units < 2 or not len(samples):
        return None, None
    tail = 100 * ndtr(-np.sqrt(units / (units - 1)) * stdtrit(units - 1, (1 + level) / 2))
    return float(np.percentile(samples, tail)), float(np.percentile(samples, 100 - tail))


def rate_interval(hits: int, number: int, level: float = INTERVAL_LEVEL) -> tuple[float, float]:
    """Wilson's interval of a rate, in percent: right for rare hits too, where bootstrap gives [0, 0] for none."""
    z = ndtri((1 + level) / 2)
    center, spread = hits + z**2 / 2, z * np.sqrt(hits * (number - hits) / number + z**2 / 4)
    low, high = ((center + sign * spread) / (number + z**2) for sign in (-1, 1))
    return 100 * float(max(low, 0)), 100 * float(min(high, 1))


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def _rounded(values: np.ndarray | Mapping[str, np.ndarray]) -> Any:
    if isinstance(values, Mapping):
        return {name: _rounded(of) for name, of in values.items()}
    return np.where(np.isnan(values), None, np.round(values, 4)).tolist()
