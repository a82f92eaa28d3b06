"""Data sets of one folder per class: any, and what those of ImageNet share with it."""

import os.path as osp
import warnings
from collections.abc import Collection, Sequence
from typing import Any

from mmengine import fileio
from mmpretrain.datasets import BaseDataset

from mmrobust.datasets.cityscapes import absolute, files_below, is_hidden, refuse_places
from mmrobust.datasets.seeded_sampling import SeededSampling
from mmrobust.registry import DATASETS

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


@DATASETS.register_module()
class ImageFolder(SeededSampling, BaseDataset):
    """Images in one folder per class; the classes are the folders, sorted by name.

    ``metainfo=dict(classes=[...])`` gives the folders' names in another order, which the labels then follow, or other
    names for the sorted folders. For a model of more classes ``metainfo=dict(subset=[...])`` says which of its outputs
    each class is: the labels are then those outputs.

    MMPretrain's ``CustomDataset`` does not check the number of classes, and does not understand a ``SeededIndex``.

    Args:
        data_root: Folder with one folder per class.
        expected_classes: Number of class folders that must be there; None takes what there is.
        expected_images: Number of images that must be there; None takes what there is.
        **kwargs: As in ``mmpretrain.BaseDataset``, except for those that say where files lie.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There are not as many class folders as expected, or none; a class has no image; the classes or the
            subset are not one for each folder, or only some of the classes are folders.
        TypeError: An argument says where files lie, such as ``data_prefix``.
    """

    def __init__(
        self, data_root: str, expected_classes: int | None = None, expected_images: int | None = None, **kwargs: Any
    ) -> None:
        refuse_places(self, 'data_root', kwargs)
        self.expected_classes, self.expected_images = expected_classes, expected_images
        super().__init__(ann_file='', data_root=str(data_root), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one dict per image, sorted by class and name."""
        title, remedy = 'image folder', 'it needs one folder of images per class, see docs/how-to/datasets.md'
        folders = []
        if fileio.isdir(self.data_root):
            folders = _class_folders(self.data_root)
            if not folders or len(folders) != (self.expected_classes or len(folders)):
                expected = self.expected_classes or 'one or more'
                raise ValueError(
                    f'The {title} {absolute(self.data_root)} has {len(folders)} class folders, not the expected '
                    f'{expected}: {remedy}, or set expected_classes for a set of your own.'
                )
            folders = self._ordered(folders)
        files = files_of_classes(self.data_root, folders, IMAGE_SUFFIXES, title, remedy)
        if len(files) != (self.expected_images or len(files)):
            raise ValueError(
                f'The {title} {absolute(self.data_root)} has {len(files)} images, not the expected '
                f'{self.expected_images}: unpack it again, or set expected_images for a set of your own.'
            )
        subset = self._metainfo.get('subset') or range(len(folders))
        return [dict(img_path=path, gt_label=int(subset[place])) for path, place in files]

    def _ordered(self, folders: list[str]) -> list[str]:
        """The class folders in the order of their labels."""
        names = [str(name) for name in self._metainfo.get('classes') or folders]  # --cfg-options makes numbers of some
        self._metainfo['classes'] = tuple(names)
        for kind, given in (('classes', names), ('subset', self._metainfo.get('subset') or folders)):
            if len(set(given)) != len(folders) or len(given) != len(folders):
                raise ValueError(
                    f'metainfo.{kind} must be one for each of the {len(folders)} class folders in '
                    f'{absolute(self.data_root)}, got {len(given)} ({len(set(given))} different).'
                )
        strangers = sorted(set(names) - set(folders))
        if strangers and len(strangers) < len(names):
            raise ValueError(
                f'metainfo.classes must be the class folders in {absolute(self.data_root)} in any order, or all be '
                f'other names, got {", ".join(strangers[:3])}{", ..." if len(strangers) > 3 else ""}, for which there '
                'is no folder.'
            )
        return folders if strangers else names


def _class_folders(root: str) -> list[str]:
    """The folders in ``root``, sorted, without hidden ones such as ``.ipynb_checkpoints``, which are no classes."""
    return sorted(name for name in fileio.list_dir_or_file(root, list_file=False) if not is_hidden(name))


def files_of_classes(
    root: str, folders: Sequence[str], suffixes: Sequence[str], title: str, remedy: str
) -> list[tuple[str, int]]:
    """List the files of each class as (path, place of its folder in ``folders``), sorted by place and name.

    Hidden files and folders do not count; of files with another suffix a warning says how many there are.

    Raises:
        FileNotFoundError: there is no folder ``root``.
        ValueError: its folders are not exactly ``folders``, or one has no file with one of the suffixes.
    """
    if not fileio.isdir(root):
        raise FileNotFoundError(f'There is no {title} in {absolute(root)}: {remedy}.')
    mismatch = _mismatch(set(_class_folders(root)), folders)
    if mismatch:
        raise refusal(title, root, mismatch, remedy)
    by_folder: dict[str, list[str]] = {folder: [] for folder in folders}
    others = []
    for name in files_below(root, None):
        folder, _, file = name.replace(osp.sep, '/').partition('/')
        if folder in by_folder:
            (by_folder[folder] if file.lower().endswith(tuple(suffixes)) else others).append(name)
    if others:
        warnings.warn(
            f'{title} in {absolute(root)}: {len(others)} files such as {min(others)} are left out, they end in none of '
            f'{", ".join(suffixes)}.',
            stacklevel=2,
        )
    empty = [folder for folder, names in by_folder.items() if not names]
    if empty:
        shown = ', '.join(empty[:3]) + (', ...' if len(empty) > 3 else '')
        found = f'no file *{suffixes[0]} in {len(empty)} of {len(folders)} class folders ({shown})'
        raise refusal(title, root, found, remedy)
    return [
        (fileio.join_path(root, name), place)
        for place, names in enumerate(by_folder.values())
        for name in sorted(names)
    ]


def refusal(title: str, folder: str, found: str, remedy: str) -> ValueError:
    """The error for a folder that holds something else than it should."""
    return ValueError(f'{title} in {absolute(folder)} has {found}: {remedy}.')


def _mismatch(found: Collection[str], expected: Sequence[str]) -> str | None:
    """Say in one sentence how the class folders differ from those of a data set; None if they do not."""
    missing = [name for name in expected if name not in found]
    surplus = sorted(set(found) - set(expected))
    if not missing and not surplus:
        return None
    differences = [
        f'{len(names)} {how} ({", ".join(names[:3])}{", ..." if len(names) > 3 else ""})'
        for names, how in ((missing, 'missing'), (surplus, 'unexpected'))
        if names
    ]
    return f'{len(found)} class folders, not the expected {len(expected)}: {" and ".join(differences)}'
