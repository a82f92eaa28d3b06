"""A cell's number, had other pictures been drawn: what every interval here is made of."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from mmrobust.evaluation.benchmarks.class_result import ClassResult
from mmrobust.evaluation.benchmarks.confusion_result import ConfusionResult
from mmrobust.evaluation.functional import iou_of_areas, resampled_sums


def area_samples(results: Sequence[ConfusionResult]) -> np.ndarray:
    """Bootstrap samples of the areas of several results on the same pictures, ``(S, R, 3, K)``.

    All of them at once, because the draws are what takes time; sample s holds the same pictures for each.
    """
    names = sorted(results[0].images)
    return resampled_sums(np.stack([[result.images[name] for result in results] for name in names]))


def mean_iou_of_areas(areas: np.ndarray) -> np.ndarray:
    """mIoU in percent of ``(..., 3, K)`` intersection, prediction and label."""
    return np.nanmean(iou_of_areas(areas[..., 0, :], areas[..., 1, :], areas[..., 2, :]), axis=-1)


def error_samples(results: Sequence[ClassResult]) -> np.ndarray:
    """Bootstrap samples of the top-1 error in percent of several results on the same pictures, ``(R, S)``."""
    wrong = np.stack([result.wrong for result in results], axis=1)
    return 100 * resampled_sums(wrong).T / len(wrong)


def bootstrap_record(names: Iterable[str], **samples: np.ndarray) -> dict:
    """Samples for JSON, rounded to 1e-4 points, with a hash of the pictures' names.

    Two runs with the same hash drew the same pictures for sample s, so their differences are paired.
    """
    digest = hashlib.sha256('\n'.join(sorted(names)).encode()).hexdigest()
    return {'images_sha256': digest, **{key: np.round(values, 4).tolist() for key, values in samples.items()}}
