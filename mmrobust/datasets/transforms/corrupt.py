"""Corrupted pictures whose pixels depend on nothing but the seed, the corruption and the name of the file."""

import os.path as osp

import numpy as np
from mmcv.transforms import BaseTransform

from mmrobust.corruptions import check_corruption, corrupt
from mmrobust.randomness import derive_seed
from mmrobust.registry import TRANSFORMS


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
        ValueError: the corruption, severity or profile is not allowed, or the picture is too small.
        TypeError: the picture is not 8-bit RGB.
    """

    def __init__(
        self, corruption: str, severity: int, data_root: str | None = None, seed: int = 0, profile: str = 'rgb'
    ) -> None:
        check_corruption(corruption, severity, profile)
        self.corruption = corruption
        self.severity = severity
        self.data_root = data_root
        self.seed = seed
        self.profile = profile

    def transform(self, results: dict) -> dict:
        """Replace the picture; nothing else changes."""
        name = results['img_path']
        if self.data_root is not None:
            name = osp.relpath(name, self.data_root)
        name = name.replace(osp.sep, '/')
        rng = np.random.default_rng(derive_seed(self.seed, self.corruption, self.severity, name))
        image = np.ascontiguousarray(results['img'][..., ::-1])
        corrupted = corrupt(image, self.corruption, self.severity, rng, self.profile)
        results['img'] = np.ascontiguousarray(corrupted[..., ::-1])
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(corruption={self.corruption!r}, severity={self.severity}, seed={self.seed}, '
            f'profile={self.profile!r})'
        )
