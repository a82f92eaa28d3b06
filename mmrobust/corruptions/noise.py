"""Noise corruptions: each pixel and channel independently.

Algorithms and constants are those of imagecorruptions 1.1.2 (Michaelis et al., 2019, Apache-2.0), after ImageNet-C
(Hendrycks and Dietterich, 2019); the code is our own. All functions take and return RGB uint8 ``(H, W, 3)``.
"""

import numpy as np

# Constants for severity 1 to 5, from imagecorruptions.
GAUSSIAN_STD = (0.08, 0.12, 0.18, 0.26, 0.38)  # of white, added
SHOT_PHOTONS = (60, 25, 12, 5, 3)  # expected number at white
IMPULSE_AMOUNT = (0.03, 0.06, 0.09, 0.17, 0.27)  # fraction of values replaced, half by black, half by white
SPECKLE_STD = (0.15, 0.2, 0.35, 0.45, 0.6)  # of the value itself, added

_GUIDE_BITS = (
    12  # of the 32 that decide a photon count: enough alone for 98 values in 100, and the table stays in cache
)


def gaussian_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Electronic noise: the same normal distribution is added everywhere."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= 255 * GAUSSIAN_STD[severity - 1]
    noise += image
    return np.clip(noise, 0, 255, out=noise).astype(np.uint8)


def speckle_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Multiplicative noise: normally distributed, in proportion to the value it is added to."""
    factor = rng.standard_normal(image.shape, dtype=np.float32)
    factor *= SPECKLE_STD[severity - 1]
    factor += 1
    factor *= image
    return np.clip(factor, 0, 255, out=factor).astype(np.uint8)


def impulse_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Salt and pepper: values become black or white, as with dead and saturated sensor cells or bit errors."""
    draw = rng.integers(0, 2**32, image.shape, dtype=np.uint32)
    amount = IMPULSE_AMOUNT[severity - 1]
    noisy = image.copy()
    noisy[draw < np.uint32(amount * 2**32)] = 0
    noisy[draw < np.uint32(amount / 2 * 2**32)] = 255
    return noisy


def shot_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Poisson noise: light arrives as single photons, the fewer the more severe."""
    photons = SHOT_PHOTONS[severity - 1]
    levels = (np.arange(photons + 1) / photons * 255).astype(np.uint8)
    return levels[_photon_counts(image, photons, rng)]


def _photon_counts(image: np.ndarray, photons: int, rng: np.random.Generator) -> np.ndarray:
    """Draw Poisson numbers with mean ``image / 255 * photons``, cut off at ``photons``, as uint8 in the image's shape.

    There are only 256 means, so the distribution functions are tabulated and inverted: one 32-bit draw per value,
    whose first bits look the count up. Where they leave a choice the other bits decide, and the result is exact to
    2**-32. (``Generator.poisson`` draws one variate at a time, and takes six times as long.)
    """
    mean = np.arange(256)[:, None] / 255 * photons
    ratios = np.concatenate([np.exp(-mean), mean / np.arange(1, photons)], axis=1)
    cumulative = np.cumsum(np.cumprod(ratios, axis=1), axis=1)  # (256, photons): P(count <= column)
    # a draw at or above thresholds[level, k] means more than k photons
    thresholds = np.minimum(cumulative * 2**32, 2**32 - 1).astype(np.uint32)

    bins = thresholds >> np.uint32(32 - _GUIDE_BITS)
    hits = np.zeros((256, 2**_GUIDE_BITS), np.uint8)
    np.add.at(hits, (np.arange(256)[:, None], bins), 1)
    below = np.cumsum(hits, axis=1, dtype=np.uint8) - hits  # thresholds under the bin: the least count possible in it
    undecided = np.uint8(128)  # a flag beside the count, which is 60 at most
    guide = np.where(hits > 0, below | undecided, below).ravel()

    draw = rng.integers(0, 2**32, image.size, dtype=np.uint32)
    level = image.ravel()
    place = level.astype(np.uint32)
    place <<= np.uint32(_GUIDE_BITS)
    place |= draw >> np.uint32(32 - _GUIDE_BITS)
    count = guide[place]

    at = np.flatnonzero(count >= undecided)
    draw, level, least = draw[at], level[at], count[at] - undecided
    count[at] = least
    while at.size:
        more = draw >= thresholds[level, least]
        at, draw, level, least = at[more], draw[more], level[more], least[more] + 1
        count[at] = least
        more = least < photons  # at the last there is no threshold left
        at, draw, level, least = at[more], draw[more], level[more], least[more]
    return count.reshape(image.shape)
