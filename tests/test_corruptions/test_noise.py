"""The noises have the distributions that they are named for."""

import math

import numpy as np
import pytest

from mmrobust.corruptions.noise import (
    GAUSSIAN_STD,
    IMPULSE_AMOUNT,
    SHOT_PHOTONS,
    SPECKLE_STD,
    gaussian_noise,
    impulse_noise,
    shot_noise,
    speckle_noise,
)

SEVERITIES = range(1, 6)


def grey(level: int, side: int = 200) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def quantile_of(level: float, mean: float, std: float) -> float:
    return 0.5 * (1 + math.erf((level - mean) / std / math.sqrt(2)))


def standard_error(share: float, count: int) -> float:
    return math.sqrt(max(share * (1 - share), 1 / count) / count)


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize(('noise', 'std'), [(gaussian_noise, GAUSSIAN_STD), (speckle_noise, SPECKLE_STD)])
def test_normal_noise(noise, std, severity):
    level = 120
    scale = std[severity - 1] * (level if noise is speckle_noise else 255)
    result = noise(grey(level), severity, np.random.default_rng(severity))
    for threshold in (1, 60, 120, 150, 255):  # below it lies what the noise brought below it: cut off, not rounded
        share = quantile_of(threshold, level, scale)
        assert (result < threshold).mean() == pytest.approx(share, abs=5 * standard_error(share, result.size))


def test_speckle_noise_is_in_proportion():
    rng = np.random.default_rng(0)
    assert (speckle_noise(grey(0), 5, rng) == 0).all()
    dark, bright = (speckle_noise(grey(level), 1, rng).std() for level in (50, 100))
    assert bright == pytest.approx(2 * dark, rel=0.02)


@pytest.mark.parametrize('severity', SEVERITIES)
def test_impulse_noise(severity):
    result = impulse_noise(grey(100), severity, np.random.default_rng(severity))
    assert set(np.unique(result)) == {0, 100, 255}
    share = IMPULSE_AMOUNT[severity - 1] / 2
    for level in (0, 255):
        assert (result == level).mean() == pytest.approx(share, abs=5 * standard_error(share, result.size))
    hit = result != 100  # channel by channel, not pixel by pixel
    both = (2 * share) ** 2
    assert (hit[..., 0] & hit[..., 1]).mean() == pytest.approx(both, abs=5 * standard_error(both, hit[..., 0].size))


@pytest.mark.parametrize('level', [0, 1, 64, 200, 255])
@pytest.mark.parametrize('severity', SEVERITIES)
def test_shot_noise_counts_photons(severity, level):
    photons = SHOT_PHOTONS[severity - 1]
    mean = level / 255 * photons
    result = shot_noise(grey(level), severity, np.random.default_rng(10 * severity + level))
    rest = 1.0
    for count in range(photons):
        share = math.exp(-mean) * mean**count / math.factorial(count)
        seen = (result == int(count / photons * 255)).mean()
        assert seen == pytest.approx(share, abs=5 * standard_error(share, result.size))
        rest -= share
    assert (result == 255).mean() == pytest.approx(rest, abs=5 * standard_error(rest, result.size))


def test_shot_noise_of_many_levels_at_once():
    rows = 400
    ramp = np.broadcast_to(np.arange(128, dtype=np.uint8)[None, :, None], (rows, 128, 3))  # never cut off at white
    counts = shot_noise(ramp, 1, np.random.default_rng(0)).astype(np.float64) * SHOT_PHOTONS[0] / 255
    counts = np.ceil(counts - 1e-9)  # the fraction of a level that was cut off is less than a photon
    expected = np.arange(128) / 255 * SHOT_PHOTONS[0]
    assert (np.abs(counts.mean(axis=(0, 2)) - expected) <= 5 * np.sqrt(expected / (rows * 3))).all()


@pytest.mark.parametrize('noise', [gaussian_noise, speckle_noise, impulse_noise, shot_noise])
def test_values_are_independent(noise):
    result = noise(grey(100), 3, np.random.default_rng(0)).astype(np.float64)
    result -= result.mean()
    bound = 5 / math.sqrt(result.size / 3) * result.var()
    assert abs((result[..., 0] * result[..., 1]).mean()) < bound
    assert abs((result[1:] * result[:-1]).mean()) < bound
    assert abs((result[:, 1:] * result[:, :-1]).mean()) < bound
