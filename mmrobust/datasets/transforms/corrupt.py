"""A corruption in a pipeline; its pixels depend only on seed, corruption and file name."""

import os.path as osp

import numpy as np
from mmcv.transforms import BaseTransform

from mmrobust.corruptions import check_corruption, corrupt
from mmrobust.randomness import derive_seed
from mmrobust.registry import TRANSFORMS

__all__ = ['Corrupt', 'corrupt_loaded', 'name_below']


@TRANSFORMS.register_module()
class Corrupt(BaseTransform):
    """Corrupt ``results['img']``, (H, W, 3) BGR uint8 as OpenMMLab loads it, with one of the 19 corruptions.

    The random draws are a function of seed, corruption, severity and the file's name below ``data_root``. So they are
    the same for any number of workers and processes, in any order, and for a copy of the data elsewhere.

    Args:
        corruption: a name of ``mmrobust.corruptions.CORRUPTIONS``.
        severity: 1 to 5.
        data_root: folder that file names are taken relative to; None takes the whole path.
        seed: another seed gives other draws.
        profile: ``'rgb'``, or ``'bgr'`` for what the released evaluation of FAN and TAP-FAN fed in.

    Raises:
        ValueError: the corruption, severity or profile is not allowed; an image is too small, greyscale or RGBA.
        TypeError: the severity is not an integer, or an image is not 8-bit.
    """

    def __init__(
        self, corruption: str, severity: int, data_root: str | None = None, seed: int = 0, profile: str = 'rgb'
    ) -> None:
        check_corruption(corruption, severity, profile)
        self.corruption = corruption
        self.severity = int(severity)  # the draws of a NumPy integer are those of the integer
        self.data_root = data_root
        self.seed = seed
        self.profile = profile

    def transform(self, results: dict) -> dict:
        """Replace the image; nothing else changes."""
        name = name_below(self.data_root, results['img_path'])
        rng = np.random.default_rng(derive_seed(self.seed, self.corruption, self.severity, name))
        results['img'] = corrupt_loaded(results, self.corruption, self.severity, rng, self.profile)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(corruption={self.corruption!r}, severity={self.severity}, seed={self.seed}, '
            f'profile={self.profile!r})'
        )


def name_below(data_root: str | None, path: str) -> str:
    """Return the name of a file below ``data_root``, with ``/``; the whole path if that is None."""
    return (path if data_root is None else osp.relpath(path, data_root)).replace(osp.sep, '/')


def corrupt_loaded(results: dict, corruption: str, severity: int, rng: np.random.Generator, profile: str) -> np.ndarray:
    """Return the loaded image ``results['img']`` corrupted, BGR as it was; ``results`` does not change.

    Raises:
        ValueError, TypeError: those of :func:`mmrobust.corruptions.corrupt`, with the file's name before them.
    """
    try:
        image = np.ascontiguousarray(results['img'][..., ::-1])
        return np.ascontiguousarray(corrupt(image, corruption, severity, rng, profile)[..., ::-1])
    except (ValueError, TypeError) as error:
        raise type(error)(f'{results.get("img_path")}: {error}') from error
