"""Flip rates of ImageNet-P: how often a prediction changes along a sequence.

Hendrycks and Dietterich, ICLR 2019, section 4.3, and their ImageNet-P/test.py, which adds the difficulties.
"""

# T frames of a sequence, K classes

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmrobust.evaluation.statistics.corruption import relative_to

#: AlexNet's flip probability, 0 to 1, at difficulty 1; from mce/eval_robustness.py of clovaai/assembled-cnn.
ALEXNET_FLIP_PROBABILITIES = {
    'gaussian_noise': 0.23653,
    'shot_noise': 0.30062,
    'motion_blur': 0.09297,
    'zoom_blur': 0.05942,
    'snow': 0.11928,
    'brightness': 0.04889,
    'translate': 0.11007,
    'rotate': 0.13104,
    'tilt': 0.07050,
    'scale': 0.23531,
    'speckle_noise': 0.18649,
    'gaussian_blur': 0.02775,
    'spatter': 0.05053,
    'shear': 0.10658,
}
#: The 10 perturbations of the benchmark, and the 4 for validation, which belong in no mean with them.
PERTURBATIONS = tuple(ALEXNET_FLIP_PROBABILITIES)[:10]
EXTRA_PERTURBATIONS = tuple(ALEXNET_FLIP_PROBABILITIES)[10:]
DIFFICULTIES = (1, 2, 3)


def frame_pairs(num_frames: int, perturbation: str, difficulty: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Which frames are compared: each frame with the one ``difficulty`` frames before.

    Frames of noise have no order in time, so each is compared with the first frame, which is clean. For noise,
    difficulty is another folder of sequences, with stronger noise, and changes nothing here.

    Returns:
        the earlier and the later frame of each pair, integers of one shape.

    Raises:
        ValueError: there is no such perturbation or difficulty, or there are too few frames for a pair.
    """
    if perturbation not in ALEXNET_FLIP_PROBABILITIES:
        raise ValueError(f'perturbation must be one of {", ".join(ALEXNET_FLIP_PROBABILITIES)}, got {perturbation!r}')
    if difficulty not in DIFFICULTIES:
        raise ValueError(f'difficulty must be 1, 2 or 3, got {difficulty!r}')
    noise = is_noise(perturbation)
    stride = 1 if noise else difficulty
    if num_frames <= stride:
        raise ValueError(f'a sequence needs at least {stride + 1} frames, got {num_frames}')
    later = np.arange(stride, num_frames)
    return (np.zeros_like(later) if noise else later - stride), later


def is_noise(perturbation: str) -> bool:
    """Whether the frames are independent draws of noise on one image."""
    return perturbation.endswith('_noise')


def flip_probability(predictions: np.ndarray, perturbation: str, difficulty: int = 1) -> np.ndarray:
    """Share of the compared frames whose prediction differs, of each sequence.

    FP of a perturbation is the mean over its sequences, which count alike however long they are.

    Args:
        predictions: ``(..., T)`` predicted classes.
        perturbation: a name of ``PERTURBATIONS`` or ``EXTRA_PERTURBATIONS``.
        difficulty: 1 to 3. Published mFR is at 1.

    Returns:
        ``(...)``, 0 to 1.

    Raises:
        ValueError: as in :func:`frame_pairs`.
    """
    predictions = np.asarray(predictions)
    earlier, later = frame_pairs(predictions.shape[-1], perturbation, difficulty)
    return (predictions[..., earlier] != predictions[..., later]).mean(-1)


def top5(scores: np.ndarray) -> np.ndarray:
    """The five best classes, best first: ``(..., K)`` scores to ``(..., 5)``; of equal scores the first class wins.

    Raises:
        ValueError: there are fewer than five classes.
    """
    if scores.shape[-1] < 5:
        raise ValueError(f'the top-5 distance needs at least 5 classes, got {scores.shape[-1]}')
    return np.argsort(-scores, axis=-1, kind='stable')[..., :5]


def top5_distance(classes: np.ndarray, perturbation: str, difficulty: int = 1) -> np.ndarray:
    """How far the five best classes move in the ranking, averaged over the compared frames, of each sequence.

    With ``sigma(i)`` the rank in the later frame of the class that has rank i in the earlier one, the distance is
    ``sum_{i=1..5} |i - min(sigma(i), 6)|``, which equals the double sum of Hendrycks and Dietterich: moves among the
    ranks from 6 on are free. uT5D of a perturbation is the mean over its sequences.

    Args:
        classes: ``(..., T, 5)`` the five best classes of each frame, best first, as :func:`top5` returns them.
        perturbation: as in :func:`flip_probability`.
        difficulty: as in :func:`flip_probability`.

    Returns:
        ``(...)``, 0 to 15.

    Raises:
        ValueError: as in :func:`frame_pairs`, or there are not five classes per frame.
    """
    classes = np.asarray(classes)
    if classes.ndim < 2 or classes.shape[-1] != 5:
        raise ValueError(f'classes must have shape (..., T, 5), got {classes.shape}')
    earlier, later = frame_pairs(classes.shape[-2], perturbation, difficulty)
    same = classes[..., earlier, :, None] == classes[..., later, None, :]
    rank = np.where(same.any(-1), same.argmax(-1), 5)
    return np.abs(rank - np.arange(5)).sum(-1).mean(-1)


def flip_rates(
    probabilities: Mapping[str, Any], reference: Mapping[str, Any] = ALEXNET_FLIP_PROBABILITIES
) -> dict[str, Any]:
    """FR of each perturbation in percent: its flip probability over that of the reference, which is AlexNet.

    The same quotient of uT5D is T5D. Its reference has to be measured: no public source has AlexNet's.

    Args:
        probabilities: FP, or uT5D, of each perturbation: numbers, or arrays of bootstrap samples.
        reference: the same of the reference network. AlexNet's are for difficulty 1.

    Raises:
        ValueError: a perturbation is not in the reference, or is not above 0 there.
    """
    return relative_to(probabilities, reference)
