"""Data set of one folder per class."""

from typing import Any

from mmengine import fileio
from mmpretrain.datasets import BaseDataset

from mmrobust.datasets.cityscapes import absolute
from mmrobust.datasets.imagenet_variants import IMAGE_SUFFIXES, class_folders, files_of_classes, refuse_places
from mmrobust.datasets.seeded_sampling import SeededSampling
from mmrobust.registry import DATASETS

__all__ = ['ImageFolder']


@DATASETS.register_module()
class ImageFolder(SeededSampling, BaseDataset):
    """Images in one folder per class; the classes are the folders, sorted by name.

    MMPretrain's ``CustomDataset`` does the same, takes any number of classes for granted, and does not understand a
    ``SeededIndex``.

    Args:
        data_root: Folder with one folder per class.
        expected_classes: Number of class folders that must be there; None takes what there is.
        **kwargs: As in ``mmpretrain.BaseDataset``, except for those that say where files lie.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There are not as many class folders as expected, or none; a class has no image.
        TypeError: An argument says where files lie, such as ``data_prefix``.
    """

    def __init__(self, data_root: str, expected_classes: int | None = None, **kwargs: Any) -> None:
        refuse_places(type(self).__name__, kwargs)
        self.expected_classes = expected_classes
        super().__init__(ann_file='', data_root=str(data_root), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one dict per image, sorted by class and name."""
        title, remedy = 'image folder', 'it needs one folder of images per class, see docs/datasets.md'
        folders = []
        if fileio.isdir(self.data_root):
            folders = class_folders(self.data_root)
            if not folders or len(folders) != (self.expected_classes or len(folders)):
                expected = self.expected_classes or 'one or more'
                raise ValueError(
                    f'The {title} {absolute(self.data_root)} has {len(folders)} class folders, not the expected '
                    f'{expected}: {remedy}, or set expected_classes for a set of your own.'
                )
        files = files_of_classes(self.data_root, folders, IMAGE_SUFFIXES, title, remedy)
        self._metainfo.setdefault('classes', tuple(folders))
        return [dict(img_path=path, gt_label=place) for path, place in files]
