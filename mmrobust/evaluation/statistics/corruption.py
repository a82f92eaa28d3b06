"""Means over corruptions and severities, in percent, also beside a reference network: mPC, retention, CD; CE, mCE.

CE is that of Hendrycks and Dietterich, ICLR 2019, section 4.2. The benchmark is 15 corruptions; 4 more are meant for
validation and belong in no mean with them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SEVERITIES = (1, 2, 3, 4, 5)

# AlexNet of torchvision: top-1 error at severities 1 to 5, as its authors gave them in hendrycks/robustness, issue 10.
_ALEXNET = {
    'gaussian_noise': (69.528, 82.542, 93.554, 98.138, 99.452),
    'shot_noise': (71.224, 85.108, 93.574, 98.182, 99.146),
    'impulse_noise': (78.374, 89.808, 94.870, 98.720, 99.548),
    'defocus_blur': (65.624, 73.202, 85.036, 91.364, 94.714),
    'glass_blur': (64.308, 75.054, 88.806, 91.622, 93.344),
    'motion_blur': (58.430, 70.048, 82.108, 89.750, 92.638),
    'zoom_blur': (70.008, 76.992, 80.784, 84.198, 87.198),
    'snow': (71.726, 88.392, 86.468, 91.870, 94.952),
    'frost': (61.390, 79.734, 88.790, 89.942, 93.430),
    'fog': (67.474, 76.050, 84.378, 87.260, 94.500),
    'brightness': (45.140, 48.502, 54.048, 62.166, 72.440),
    'contrast': (64.548, 76.150, 88.874, 97.760, 99.270),
    'elastic_transform': (52.596, 70.116, 55.686, 64.076, 80.554),
    'pixelate': (52.218, 54.620, 73.728, 87.092, 91.262),
    'jpeg_compression': (51.002, 54.718, 57.294, 65.458, 74.778),
}
#: AlexNet's error in percent of each (corruption, severity) of the benchmark.
ALEXNET_ERRORS: dict[tuple[str, int], float] = {
    (corruption, severity): error
    for corruption, errors in _ALEXNET.items()
    for severity, error in zip(SEVERITIES, errors, strict=True)
}
#: AlexNet's error in percent on clean ImageNet: torchvision's accuracy is 56.522.
ALEXNET_CLEAN_ERROR = 43.478
#: AlexNet's mean error in percent on the 4 extra corruptions, from mce/eval_robustness.py of clovaai/assembled-cnn; no
#: source gives them by severity.
ALEXNET_EXTRA_ERRORS = {'speckle_noise': 84.54, 'gaussian_blur': 78.71, 'spatter': 71.75, 'saturate': 65.83}

#: The 15 corruptions of the benchmark, in the published order.
BENCHMARK = tuple(_ALEXNET)

# Top-1 error in percent, or an array of bootstrap samples of it, of (corruption, severity)
Errors = Mapping[tuple[str, int], Any]
# mIoU in percent of (corruption, severity)
Cells = Mapping[tuple[str, int], float]


def raw_corruption_errors(errors: Errors) -> dict[str, Any]:
    """Mean error of each corruption in percent, not divided by a reference's: 100 minus the mean accuracy.

    Args:
        errors: top-1 error in percent of (corruption, severity), numbers or arrays of bootstrap samples of one shape;
            every corruption at severities 1 to 5. The extra corruptions may be among them.

    Raises:
        ValueError: a severity is missing or unknown, or a value is not 0 to 100.
    """
    severities: dict[str, set[int]] = {}
    for (corruption, severity), error in errors.items():
        if not (np.all(np.greater_equal(error, 0)) and np.all(np.less_equal(error, 100))):
            raise ValueError(f'errors must be 0 to 100 percent, got {error} for {corruption} at severity {severity}')
        severities.setdefault(corruption, set()).add(severity)
    for corruption, found in severities.items():
        if found != set(SEVERITIES):
            raise ValueError(f'{corruption} needs severities 1 to 5, got {", ".join(map(str, sorted(found)))}')
    return mean_over_severities(errors)


def corruption_errors(errors: Errors, reference: Errors | None = None) -> dict[str, Any]:
    """CE of each corruption in percent: ``100 sum_s E_sc / sum_s E_sc of the reference``.

    Args:
        errors: as in :func:`raw_corruption_errors`.
        reference: errors of another network, as ``errors``; None takes AlexNet's. CE of another reference must not be
            compared with published ones.

    Raises:
        ValueError: as in :func:`raw_corruption_errors`; the reference lacks a corruption, or makes no error on it.
    """
    return relative_to(raw_corruption_errors(errors), _reference_errors(reference))


def relative_corruption_errors(
    errors: Errors, clean: Any, reference: Errors | None = None, reference_clean: Any = None
) -> dict[str, Any]:
    """Relative CE of each corruption in percent: as CE, of what each error is above the network's own clean error.

    Args:
        errors: as in :func:`raw_corruption_errors`.
        clean: top-1 error in percent on clean images.
        reference: errors of another network, as ``errors``; None takes AlexNet's.
        reference_clean: its clean error in percent; given if and only if ``reference`` is.

    Raises:
        ValueError: as in :func:`corruption_errors`; one of the two arguments of a reference is missing; the reference
            makes no more errors on a corruption than on clean images.
    """
    if (reference is None) != (reference_clean is None):
        raise ValueError('reference and reference_clean must be given both or neither')
    of_reference = ALEXNET_CLEAN_ERROR if reference_clean is None else reference_clean
    return relative_to(raw_corruption_errors(errors), _reference_errors(reference), clean, of_reference)


def benchmark_mean(values: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Mean over the corruptions or perturbations of a benchmark, each of which counts once.

    It is mCE of :func:`corruption_errors`, relative mCE of :func:`relative_corruption_errors`, the mean error of
    :func:`raw_corruption_errors`, which many call mCE too, and mFR of ``flip_rates``.

    Args:
        values: percent of each, numbers or arrays.
        names: those of the benchmark, such as :data:`BENCHMARK`.

    Raises:
        ValueError: a name is missing, or there is another one.
    """
    missing = [name for name in names if name not in values]
    surplus = [name for name in values if name not in names]
    if missing or surplus:
        found = [f'without {", ".join(missing)}'] * bool(missing) + [f'with {", ".join(surplus)}'] * bool(surplus)
        raise ValueError(f'the mean is over the {len(names)} of the benchmark, got them {" and ".join(found)}')
    return np.mean([values[name] for name in names], axis=0)


def _reference_errors(reference: Errors | None) -> dict[str, Any]:
    if reference is None:
        return {**mean_over_severities(ALEXNET_ERRORS), **ALEXNET_EXTRA_ERRORS}
    return raw_corruption_errors(reference)


def relative_to(
    values: Mapping[str, Any], reference: Mapping[str, Any], own: Any = 0, of_reference: Any = 0
) -> dict[str, Any]:
    """Each value over that of a reference, in percent, both less a number of their own.

    Raises:
        ValueError: the reference lacks a name, or there is nothing to divide by.
    """
    quotients = {}
    for name, value in values.items():
        if name not in reference:
            raise ValueError(f'the reference has {", ".join(reference)}, got {name}')
        excess = np.subtract(reference[name], of_reference)
        if not np.all(excess > 0):
            raise ValueError(f'the reference on {name} must be above {of_reference}, got {reference[name]}')
        # divided first: a network that equals its reference has exactly 100
        quotients[name] = 100 * (np.subtract(value, own) / excess)
    return quotients


def mean_over_severities(cells: Mapping[tuple[str, int], Any]) -> dict[str, Any]:
    """Mean of each corruption over its severities, corruptions in the order of the cells.

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
