"""Common image corruptions, as in ImageNet-C and Cityscapes-C: 15 of the benchmark and 4 extra, severities 1 to 5.

They reproduce imagecorruptions (Michaelis et al., 2019) at any image size. What is random in them comes from a
generator that is handed in, and nothing else: the same generator state gives the same pixels.
"""

import numbers
from collections.abc import Callable, Collection

import numpy as np

from .blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from .digital import brightness, contrast, elastic_transform, jpeg_compression, pixelate, saturate
from .noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from .weather import fog, frost, snow, spatter

__all__ = [
    *('CORRUPTIONS', 'EXTRA', 'FIFTEEN', 'GROUPS', 'MIN_SIDE', 'PROFILES', 'SEVERITIES'),
    *('check_corruption', 'corrupt'),
]

Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]

#: By name, in the published order: the 15 of the benchmark, then the 4 extra.
CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        snow,
        frost,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg_compression,
        speckle_noise,
        gaussian_blur,
        spatter,
        saturate,
    )
}

#: The 15 of the benchmark, by kind.
GROUPS: dict[str, tuple[str, ...]] = {
    'noise': ('gaussian_noise', 'shot_noise', 'impulse_noise'),
    'blur': ('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    'weather': ('snow', 'frost', 'fog', 'brightness'),
    'digital': ('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
}

#: The 15 without their groups.
FIFTEEN = tuple(name for names in GROUPS.values() for name in names)

#: The 4 that ImageNet-C keeps for validation, and the group that each would belong to.
EXTRA: dict[str, str] = {
    'speckle_noise': 'noise',
    'gaussian_blur': 'blur',
    'spatter': 'weather',
    'saturate': 'digital',
}

SEVERITIES = (1, 2, 3, 4, 5)
MIN_SIDE = 32  # pixels
PROFILES = ('rgb', 'bgr')


def corrupt(image: np.ndarray, name: str, severity: int, rng: np.random.Generator, profile: str = 'rgb') -> np.ndarray:
    """Corrupt an image.

    Args:
        image: RGB uint8 ``(H, W, 3)``, both sides at least 32 pixels. It is not changed.
        name: one of ``CORRUPTIONS``.
        severity: 1 (slight) to 5.
        rng: the only source of randomness. Some corruptions draw nothing from it.
        profile: 'rgb' means each corruption as published. 'bgr' is what the Cityscapes-C of FAN and TAPADL was made
            with: images read as BGR and given to a library that takes them for RGB, so snow, frost, spatter and JPEG
            see red and blue exchanged. ``image`` and the result are RGB either way.

    Returns:
        A new RGB uint8 image of the same shape.

    Raises:
        ValueError: unknown name, severity or profile; an image that is not ``(H, W, 3)`` or has a side below 32.
        TypeError: an image that is not a uint8 array, a severity that is not an integer, an ``rng`` that is not a
            ``numpy.random.Generator``.
    """
    check_corruption(name, severity, profile)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f'rng must be a numpy.random.Generator, got {type(rng).__name__}')
    _check_image(image)
    function = CORRUPTIONS[name]
    if profile == 'bgr':
        return np.ascontiguousarray(function(np.ascontiguousarray(image[..., ::-1]), int(severity), rng)[..., ::-1])
    return function(np.ascontiguousarray(image), int(severity), rng)


def check_corruption(name: str, severity: int, profile: str = 'rgb', known: Collection[str] | None = None) -> None:
    """Refuse what :func:`corrupt` does not know, or, of a set with other corruptions, what is not ``known``.

    Raises:
        ValueError: unknown name, severity or profile.
        TypeError: a severity that is not an integer.
    """
    known = CORRUPTIONS if known is None else known  # at the time of the call: a user may have added one
    if not isinstance(name, str) or name not in known:
        raise ValueError(f'corruption must be one of {", ".join(known)}, got {name!r}')
    if isinstance(severity, bool) or not isinstance(severity, numbers.Integral):
        raise TypeError(f'severity must be an integer from 1 to 5, got {severity!r}')
    if severity not in SEVERITIES:
        raise ValueError(f'severity must be an integer from 1 to 5, got {severity}')
    if not isinstance(profile, str) or profile not in PROFILES:
        raise ValueError(f'profile must be one of {", ".join(PROFILES)}, got {profile!r}')


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray):
        raise TypeError(f'image must be a numpy array of RGB uint8 (H, W, 3), got {type(image).__name__}')
    if image.dtype != np.uint8:
        raise TypeError(f'image must be uint8 with values from 0 to 255, got {image.dtype}')
    if image.ndim != 3 or image.shape[2] != 3:
        channels = (*image.shape, 1)[2] if image.ndim in (2, 3) else None
        kind = {1: ' (greyscale)', 4: ' (RGBA)'}.get(channels, '')
        raise ValueError(f'image must be RGB (H, W, 3), got shape {image.shape}{kind}')
    if min(image.shape[:2]) < MIN_SIDE:
        height, width = image.shape[:2]
        raise ValueError(f'image must be at least {MIN_SIDE} x {MIN_SIDE} pixels, got {width} x {height} (W x H)')
