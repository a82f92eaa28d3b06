"""The images of a test set, without loading them."""

import copy
import functools
import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from torch.utils.data import Dataset

from mmrobust.datasets.labels import check_labels
from mmrobust.datasets.transforms.corrupt import name_below
from mmrobust.evaluation.models.classification import is_number, number_of

_BLOCK = 8192  # bytes that are read of a file at its start, in its middle and at its end


class Images:
    """A dataset config, thinned out if asked for, with what must be known before the first image is loaded.

    It stays a config, because each loading process builds a dataset of its own.

    Args:
        dataset: config of a dataset of MMSegmentation or MMPretrain.
        scope: default scope of its type names.
        max_images: take this many images, spread evenly; None takes all.

    Attributes:
        dataset: the config, to be built or edited further.
        size: number of images.
        class_names: K names.
        subset: the outputs that scores are restricted to, or None.
        palette: K colours, RGB, 0 to 255; empty if the classes have none.
        fingerprint: see :func:`fingerprint`; of the images that are taken, with their labels.

    Raises:
        ValueError: ``max_images`` is below 1, or the dataset's own errors.
        FileNotFoundError: there are no data.
    """

    default_scope: ClassVar[str]
    subset: Sequence[int] | None = None
    palette: Sequence[Sequence[int]] = ()

    def __init__(self, dataset: dict, scope: str, max_images: int | None = None) -> None:
        self.dataset = copy.deepcopy(dataset)
        self.scope = scope
        self.root = self.dataset.get('data_root') or None
        with DefaultScope.overwrite_default_scope(scope):
            built = DATASETS.build(self.dataset)
        taken = self.dataset.get('indices')  # the config itself may be thinned out already
        if not isinstance(taken, (list, tuple)):  # a number is that of the first, or below 0 of the last
            first = -len(built) if isinstance(taken, int) and taken < 0 else 0
            taken = range(first, first + len(built))
        self._positions = list(taken)
        kept = evenly(len(built), max_images)
        if len(kept) < len(built):
            self._positions = [self._positions[index] for index in kept]
            self.dataset['indices'] = self._positions
        self.size = len(kept)
        if not built.metainfo.get('classes'):
            raise ValueError(f'the data set {type(built).__name__} must name its classes, in metainfo or classes')
        self.class_names = tuple(built.metainfo['classes'])
        self._describe(built, kept)

    @classmethod
    def of_config(
        cls, config: Config, max_images: int | None, dataset: dict | None = None, data_root: str | None = None
    ) -> 'Images':
        """Those of a config's ``test_dataloader``, or of another dataset in its place, or in another folder."""
        dataset = dict(config.test_dataloader.dataset if dataset is None else dataset)
        if data_root is not None:
            dataset['data_root'] = data_root
        return cls(dataset, config.get('default_scope') or cls.default_scope, max_images)

    def name(self, path: str) -> str:
        """An image's path below the data root: the same for a copy of the data elsewhere."""
        return path if is_number(path) else name_below(self.root, path)

    @functools.cached_property
    def fingerprint(self) -> str:
        return fingerprint(self._files)

    def _describe(self, built: Dataset, kept: list[int]) -> None:
        """Keep what else must be known, of the dataset as the config was given and the indices of it that are left.

        ``_files`` is among it: what to say of each image, its name at least, and its files.
        """


class LabelledImages(Images):
    """Images with a class each. Those that are in memory, such as MMPretrain's CIFAR10, are named by their number.

    Attributes:
        labels: name of each image to its class.
        in_memory: whether the images have no files.

    Raises:
        ValueError: an image has no label; and the errors of the base class.
    """

    default_scope = 'mmpretrain'

    def size_of_first(self) -> tuple[int, int]:
        """Height and width of the first image, as loaded or as the model gets it, whichever is smaller."""
        with DefaultScope.overwrite_default_scope(self.scope):
            first = DATASETS.build(copy.deepcopy(self.dataset))[0]
        sizes = [tuple(first['inputs'].shape[-2:]), tuple(first['data_samples'].get('ori_shape') or (np.inf, np.inf))]
        return tuple(int(side) for side in min(sizes, key=min))

    def _describe(self, built: Dataset, kept: list[int]) -> None:
        self.subset = built.metainfo.get('subset')
        found = [built.get_data_info(index) for index in kept]
        self.in_memory = any('img_path' not in of for of in found)
        for number, of in enumerate(found):
            of.setdefault('img_path', number_of(number))
        bare = [of['img_path'] for of in found if 'gt_label' not in of]
        if bare:
            raise ValueError(
                f'the images must have labels, but {bare[0]} has none (with_label=False, or no class folder)'
            )
        self.labels = {self.name(of['img_path']): of['gt_label'] for of in found}
        self._files = [
            (f'{self.name(of["img_path"])} {of["gt_label"]}{_digest_of(of.get("img"))}', [of['img_path']])
            for of in found
        ]


class LabelMapImages(Images):
    """Images with a label map each.

    Attributes:
        names: paths of the images below the data root, with ``/``.
        ignore_index: label that belongs to no class.
    """

    default_scope = 'mmseg'

    def _describe(self, built: Dataset, kept: list[int]) -> None:
        found = [built.get_data_info(index) for index in kept]
        self.names = [self.name(of['img_path']) for of in found]
        kinds = ('img_path', 'seg_map_path', 'invalid_path')
        self._files = [(self.name(of['img_path']), [of[kind] for kind in kinds if of.get(kind)]) for of in found]
        ids = found[0].get('label_ids')  # what the numbers in the label files mean
        if ids is not None:
            self._files.append((f'ids {ids.tolist()}', []))
        self.palette = [tuple(color) for color in built.metainfo['palette']]
        self.ignore_index = built.ignore_index
        check_labels(built, kept)

    def only(self, name: str) -> dict:
        """The config of a dataset that holds one of these images."""
        dataset = copy.deepcopy(self.dataset)
        dataset['indices'] = [self._positions[self.names.index(name)]]
        return dataset


def fingerprint(files: Iterable[tuple[str, Sequence[str]]]) -> str:
    """SHA-256 of what is said of each image, in their order, and of its files.

    Of a file count its size, and 8 KiB at its start, in its middle and at its end, where a PNG has the checksum of all
    its pixels. What is no file on a local disk counts with what is said of it only.
    """
    with ThreadPoolExecutor() as pool:  # the files may lie on another machine
        contents = list(pool.map(_samples, files))
    return hashlib.sha256(repr(contents).encode()).hexdigest()


def fingerprints(images: Mapping[str, Images]) -> dict[str, str]:
    """The fingerprint of each, of those that several names share once, under the first of them."""
    first = {id(of): name for name, of in reversed(images.items())}
    return {name: of.fingerprint for name, of in images.items() if first[id(of)] == name}


def require_names(found: Collection[str], expected: Collection[str]) -> None:
    """Raise ValueError if counts are not of exactly these images."""
    other = sorted(set(found) ^ set(expected))
    if other:
        raise ValueError(
            f'it is of {len(found)} images and the data have {len(expected)}; {other[0]!r} is only in '
            f'{"the file" if other[0] in found else "the data"}'
        )


def _digest_of(image: np.ndarray | None) -> str:
    """Hash of an image in memory behind a space; nothing for a file."""
    return '' if image is None else f' {hashlib.sha256(np.ascontiguousarray(image)).hexdigest()}'


def _samples(image: tuple[str, Sequence[str]]) -> list[str]:
    said, paths = image
    found = [said]
    for path in filter(os.path.isfile, paths):
        size = os.path.getsize(path)
        digest = hashlib.sha256(str(size).encode())
        with open(path, 'rb') as file:
            for place in (0, (size - _BLOCK) // 2, size - _BLOCK) if size > _BLOCK else (0,):
                file.seek(place)
                digest.update(file.read(_BLOCK))
        found.append(digest.hexdigest())
    return found


def evenly(length: int, max_images: int | None) -> list[int]:
    """Indices of ``max_images`` of ``length`` things, spread evenly from the first to the last; None takes all.

    Raises:
        ValueError: ``max_images`` is below 1.
    """
    if max_images is not None and max_images < 1:
        raise ValueError(f'max_images must be 1 or more, got {max_images}')
    if max_images is None or max_images >= length:
        return list(range(length))
    return [int(index) for index in np.linspace(0, length - 1, max_images)]
