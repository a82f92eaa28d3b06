"""The pictures of a test set, before any process has loaded one."""

import copy
import os.path as osp

import numpy as np
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS


class Pictures:
    """A dataset config, thinned out if asked for, with what must be known before the first picture is loaded.

    It stays a config, because each loading process builds a dataset of its own.

    Args:
        dataset: config of an MMSegmentation dataset.
        scope: default scope of its type names.
        max_images: take this many pictures, spread evenly; None takes all.

    Attributes:
        dataset: the config, to be built or edited further.
        names: paths of the pictures below the data root, with ``/``.
        class_names: K names.
        palette: K colours, RGB, 0 to 255.
        ignore_index: label that belongs to no class.

    Raises:
        ValueError: ``max_images`` is below 1, or the dataset's own errors.
        FileNotFoundError: there are no data.
    """

    def __init__(self, dataset: dict, scope: str = 'mmseg', max_images: int | None = None) -> None:
        if max_images is not None and max_images < 1:
            raise ValueError(f'max_images must be 1 or more, got {max_images}')
        self.dataset = copy.deepcopy(dataset)
        self.root = self.dataset.get('data_root') or ''
        with DefaultScope.overwrite_default_scope(scope):
            built = DATASETS.build(self.dataset)
        self.class_names = tuple(built.metainfo['classes'])
        self.palette = [tuple(color) for color in built.metainfo['palette']]
        self.ignore_index = built.ignore_index
        taken = self.dataset.get('indices')  # the config itself may be thinned out already
        self._positions = list(taken) if isinstance(taken, (list, tuple)) else list(range(len(built)))
        kept = range(len(built))
        if max_images is not None and max_images < len(built):
            kept = [int(index) for index in np.linspace(0, len(built) - 1, max_images)]
            self._positions = [self._positions[index] for index in kept]
            self.dataset['indices'] = self._positions
        self.names = [self.name(built.get_data_info(index)['img_path']) for index in kept]

    def name(self, path: str) -> str:
        """A picture's path below the data root: the same for a copy of the data elsewhere."""
        return (osp.relpath(path, self.root) if self.root else path).replace(osp.sep, '/')

    def only(self, name: str) -> dict:
        """The config of a dataset that holds one of these pictures."""
        dataset = copy.deepcopy(self.dataset)
        dataset['indices'] = [self._positions[self.names.index(name)]]
        return dataset
