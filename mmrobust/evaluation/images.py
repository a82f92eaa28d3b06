"""The images of a test set, without loading them."""

import copy

import numpy as np
from mmengine.registry import DATASETS, DefaultScope
from torch.utils.data import Dataset

from mmrobust.datasets.transforms.corrupt import name_below


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

    Raises:
        ValueError: ``max_images`` is below 1, or the dataset's own errors.
        FileNotFoundError: there are no data.
    """

    def __init__(self, dataset: dict, scope: str, max_images: int | None = None) -> None:
        self.dataset = copy.deepcopy(dataset)
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
        self.class_names = tuple(built.metainfo['classes'])
        self._describe(built, kept)

    def name(self, path: str) -> str:
        """An image's path below the data root: the same for a copy of the data elsewhere."""
        return name_below(self.root, path)

    def _describe(self, built: Dataset, kept: list[int]) -> None:
        """Keep what else must be known, of the dataset as the config was given and the indices of it that are left."""


class LabelledImages(Images):
    """Images with a class each.

    Attributes:
        subset: the outputs that scores are restricted to, or None.
    """

    def _describe(self, built: Dataset, kept: list[int]) -> None:
        self.subset = built.metainfo.get('subset')


class LabelMapImages(Images):
    """Images with a label map each.

    Attributes:
        names: paths of the images below the data root, with ``/``.
        palette: K colours, RGB, 0 to 255.
        ignore_index: label that belongs to no class.
    """

    def _describe(self, built: Dataset, kept: list[int]) -> None:
        self.names = [self.name(built.get_data_info(index)['img_path']) for index in kept]
        self.palette = [tuple(color) for color in built.metainfo['palette']]
        self.ignore_index = built.ignore_index

    def only(self, name: str) -> dict:
        """The config of a dataset that holds one of these images."""
        dataset = copy.deepcopy(self.dataset)
        dataset['indices'] = [self._positions[self.names.index(name)]]
        return dataset


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
