"""Corruptions in a pipeline: of an image or a region of it for a test, and at random as training augmentation."""

import os.path as osp
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS

from mmrobust.corruptions import FIFTEEN, SEVERITIES, check_corruption, corrupt
from mmrobust.randomness import derive_seed
from mmrobust.registry import TRANSFORMS

# a class index, or x0, y0, x1, y1 in pixels, of which the last two lie outside
Region = int | tuple[int, int, int, int]


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


@TRANSFORMS.register_module()
class CorruptRegion(Corrupt):
    """Corrupt the region only: inside it are the pixels of :class:`Corrupt`, outside the clean ones, to the bit.

    Args:
        region: ``x0, y0, x1, y1`` in pixels of the loaded image, or the index of a class in the labels.
        load_labels: config of the step that loads them, for a class.
        **kwargs: as in :class:`Corrupt`.

    Raises:
        ValueError: the rectangle is not in an image; the errors of :class:`Corrupt`.
    """

    def __init__(self, *args, region: Region, load_labels: dict | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.region = region if isinstance(region, int) else tuple(region)
        self.load_labels = MMENGINE_TRANSFORMS.build(load_labels) if isinstance(region, int) else None

    def transform(self, results: dict) -> dict:
        """Replace the image; nothing else changes."""
        clean, label = results['img'], None
        if self.load_labels is not None:
            label = self.load_labels(dict(results, seg_fields=[]))['gt_seg_map']
        mask = region_mask(self.region, clean.shape[:2], label, results.get('img_path'))
        results = super().transform(results)
        results['img'] = np.where(mask[..., None], results['img'], clean)
        return results


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
        corruptions: Sequence[str] = FIFTEEN,
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


def region_of(text: str, class_names: Sequence[str]) -> Region:
    """A class name as its index, or ``x0,y0,x1,y1`` as four numbers.

    Raises:
        ValueError: it is neither, or the rectangle is empty.
    """
    if text in class_names:
        return list(class_names).index(text)
    parts = text.split(',')
    if len(parts) == 4 and all(part.strip().isdigit() for part in parts):
        left, top, right, bottom = map(int, parts)
        if left < right and top < bottom:
            return left, top, right, bottom
    raise ValueError(
        f'region must be x0,y0,x1,y1 in pixels with x0 < x1 and y0 < y1, or one of {", ".join(class_names)}, '
        f'got {text!r}'
    )


def region_mask(
    region: Region, shape: tuple[int, int], label: np.ndarray | None = None, image: str | None = None
) -> np.ndarray:
    """Which pixels are inside, ``(H, W)`` bool.

    Args:
        region: see :class:`CorruptRegion`.
        shape: H and W.
        label: ``(H, W)`` class indices, for a class.
        image: name for messages.

    Raises:
        ValueError: the rectangle reaches beyond the image, or the labels have another size.
    """
    if isinstance(region, int):
        if label is None or label.shape != shape:
            raise ValueError(
                f'{image} must have a label of its size {shape}, got {None if label is None else label.shape}'
            )
        return label == region
    left, top, right, bottom = region
    if right > shape[1] or bottom > shape[0]:
        raise ValueError(f'region must lie in the image {image}, {shape[1]} x {shape[0]}, got {region}')
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask
