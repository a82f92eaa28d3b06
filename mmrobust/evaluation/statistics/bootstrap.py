"""How far a number would move with other images: bootstrap over images.

The model stays as it is, so an interval says nothing about another training run.
"""

# S bootstrap samples, N images

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

INTERVAL_LEVEL = 0.95
_BLOCK = 64  # samples at a time: 25 MB for the 50000 images of ImageNet


def resampled_sums(counts: np.ndarray, num_samples: int = 1000, seed: int = 0) -> np.ndarray:
    """Sums of counts over images that are drawn with replacement, N of N.

    The draws depend on N and the seed only. So sample s of one cell holds the same images as sample s of another cell,
    or of another model, on the same images: a mean or a difference of them, sample by sample, is a paired one.

    Args:
        counts: ``(N, ...)`` integer counts of each image.
        num_samples: S.
        seed: seed of the draws.

    Returns:
        ``(S, ...)``, float64 but exact below 2 ** 53.
    """
    num_images = len(counts)
    flat = counts.reshape(num_images, -1).astype(np.float64)
    rng = np.random.default_rng(seed)
    sums = np.empty((num_samples, flat.shape[1]))
    for start in range(0, num_samples, _BLOCK):
        rows = sums[start : start + _BLOCK]
        # how often each image is in a sample; a sum over images is then a matrix product
        times = [np.bincount(rng.integers(num_images, size=num_images), minlength=num_images) for _ in rows]
        rows[:] = np.array(times, np.float64) @ flat
    return sums.reshape(num_samples, *counts.shape[1:])


def interval(samples: np.ndarray, level: float = INTERVAL_LEVEL) -> tuple[float, float]:
    """Percentile interval ``(low, high)`` of S samples; ``level`` in (0, 1) is the share of them inside."""
    tail = 100 * (1 - level) / 2
    return float(np.percentile(samples, tail)), float(np.percentile(samples, 100 - tail))


def bootstrap_record(names: Iterable[str], **samples: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Samples for JSON, rounded to 1e-4 points, NaN as None, with a hash of the names of the images.

    Two runs with the same hash drew the same images for sample s, so their differences are paired.
    """
    digest = hashlib.sha256('\n'.join(sorted(names)).encode()).hexdigest()
    return {'images_sha256': digest, **{key: _rounded(values) for key, values in samples.items()}}


def _rounded(values: np.ndarray | Mapping[str, np.ndarray]) -> Any:
    if isinstance(values, Mapping):
        return {name: _rounded(of) for name, of in values.items()}
    return np.where(np.isnan(values), None, np.round(values, 4)).tolist()
