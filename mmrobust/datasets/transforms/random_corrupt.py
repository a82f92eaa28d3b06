"""Corruptions as training augmentation."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmrobust.corruptions import GROUPS, SEVERITIES, check_corruption
from mmrobust.datasets.transforms.corrupt import corrupt_loaded
from mmrobust.registry import TRANSFORMS

__all__ = ['RandomCorrupt']

BENCHMARK = tuple(name for group in GROUPS.values() for name in group)


@TRANSFORMS.register_module()
class RandomCorrupt(BaseTransform):
    """Corrupt some of the images ``results['img']``, (H, W, 3) BGR uint8, with a random corruption and severity.

    A model that was trained on a corruption is no longer tested zero-shot on it: the published numbers of Cityscapes-C
    and ImageNet-C are of models that saw none of them. The 4 corruptions that are not in the default are those that
    ImageNet-C keeps for tuning.

    All draws come from NumPy's global state, as in MMCV's transforms. With ``mmrobust.SeededInfiniteSampler`` they do
    not depend on the number of workers.

    Args:
        corruptions: names of ``mmrobust.corruptions.CORRUPTIONS``, each as likely as the others; the 15 of the
            benchmark by default.
        severities: 1 to 5, each as likely as the others.
        prob: probability that an image is corrupted, 0 to 1.
        profile: channel order, see :class:`mmrobust.datasets.transforms.Corrupt`.

    Raises:
        ValueError: a corruption, a severity, the probability or the profile is not allowed, or there is nothing to
            choose from; an image is too small, greyscale or RGBA.
        TypeError: corruptions or severities are no sequence, a severity is not an integer, or an image is not 8-bit.
    """

    def __init__(
        self,
        corruptions: Sequence[str] = BENCHMARK,
        severities: Sequence[int] = SEVERITIES,
        prob: float = 0.5,
        profile: str = 'rgb',
    ) -> None:
        for name, values in (('corruptions', corruptions), ('severities', severities)):
            if isinstance(values, str) or not isinstance(values, Sequence):
                raise TypeError(f'{name} must be a list, got {values!r}')
            if not values:
                raise ValueError(f'{name} must have one or more to choose from, got none')
        for corruption in corruptions:
            for severity in severities:
                check_corruption(corruption, severity, profile)
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be 0 to 1, got {prob}')
        self.corruptions = tuple(corruptions)
        self.severities = tuple(severities)
        self.prob = prob
        self.profile = profile

    def transform(self, results: dict) -> dict:
        """Replace the image or leave it; nothing else changes."""
        drawn = self.draw()
        if drawn is not None:
            corruption, severity, seed = drawn
            rng = np.random.default_rng(seed)
            results['img'] = corrupt_loaded(results, corruption, severity, rng, self.profile)
        return results

    @cache_randomness
    def draw(self) -> tuple[str, int, int] | None:
        """Draw a corruption, a severity and the seed of its Generator; None leaves the image as it is."""
        if np.random.rand() >= self.prob:
            return None
        corruption = self.corruptions[np.random.randint(len(self.corruptions))]
        severity = self.severities[np.random.randint(len(self.severities))]
        return corruption, severity, np.random.randint(2**31)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(corruptions={self.corruptions}, severities={self.severities}, prob={self.prob}, '
            f'profile={self.profile!r})'
        )
