"""Cityscapes and data sets in its format, with errors that say what to do."""

import os.path as osp
from collections.abc import Mapping
from typing import Any

from mmengine import fileio
from mmseg.datasets import BaseSegDataset
from mmseg.datasets import CityscapesDataset as MMSegCityscapesDataset

from mmrobust.datasets.seeded_sampling import SeededSampling
from mmrobust.registry import DATASETS

# the published id (labelIds) of each of the 19 classes, in their order (labelTrainIds); all other ids are not evaluated
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


@DATASETS.register_module()
class CityscapesDataset(SeededSampling, MMSegCityscapesDataset):
    """Cityscapes for semantic segmentation: 2048 x 1024 images, 19 classes, 255 is ignored.

    Args:
        **kwargs: As in ``mmseg.CityscapesDataset``. Without ``seg_map_path`` in ``data_prefix`` (the test set, whose
            labels are not public) no labels are looked for.

    Raises:
        FileNotFoundError: There is no folder ``data_root``, or there are images without a label.
        ValueError: There is no image.
    """

    def load_data_list(self) -> list[dict]:
        """Return one dict per image: those of MMSegmentation."""
        root = self.data_root or self.data_prefix['img_path']
        if not fileio.exists(root, backend_args=self.backend_args):
            raise FileNotFoundError(
                f'There is no Cityscapes in {absolute(root)}: unzip leftImg8bit_trainvaltest.zip and '
                'gtFine_trainvaltest.zip from https://www.cityscapes-dataset.com there, or draw MiniCity, a small '
                'stand-in, with `python tools/dataset_converters/minicity.py` (`make demo-full` does it for you).'
            )
        images = self.data_prefix['img_path']
        data_list = super().load_data_list() if fileio.exists(images, backend_args=self.backend_args) else []
        data_list = [sample for sample in data_list if not is_hidden(sample['img_path'].removeprefix(images))]
        if not data_list:
            raise ValueError(
                f'There is no image {absolute(images)}/**/*{self.img_suffix}: check data_root and '
                'data_prefix, and that leftImg8bit_trainvaltest.zip is unzipped there.'
            )
        if 'seg_map_path' in self.data_prefix:
            self._check_labels(data_list)
        return data_list

    def _check_labels(self, data_list: list[dict]) -> None:
        """Refuse images without a label; one listing instead of one look-up per file, which matters remotely."""
        folder = self.data_prefix['seg_map_path']
        present = {osp.join(folder, name) for name in files_below(folder, self.backend_args)}
        missing = [sample['seg_map_path'] for sample in data_list if sample['seg_map_path'] not in present]
        if not missing:
            return
        label_ids = [path.replace('_labelTrainIds.png', '_labelIds.png') for path in missing]
        if any(path in present for path in label_ids):
            remedy = f'make them with `python tools/dataset_converters/cityscapes.py {self.data_root or folder}`.'
        else:
            remedy = f'check that gtFine_trainvaltest.zip is unzipped in {absolute(self.data_root or folder)}.'
        raise LabelsMissingError(missing, len(data_list), remedy)


def files_below(folder: str, backend_args: dict | None) -> list[str]:
    """List all files below a folder, as paths relative to it, without hidden ones; none if there is no such folder."""
    if not fileio.exists(folder, backend_args=backend_args):
        return []
    files = fileio.list_dir_or_file(folder, list_dir=False, recursive=True, backend_args=backend_args)
    return [name for name in files if not is_hidden(name)]


def is_hidden(path: str) -> bool:
    """Whether a path is a hidden file or in a hidden folder, such as the copies in ``.ipynb_checkpoints``."""
    return any(part.startswith('.') for part in path.replace(osp.sep, '/').split('/'))


class LabelsMissingError(FileNotFoundError):
    """There are images without a label.

    Args:
        missing: paths of the labels that are not there.
        total: number of images.
        remedy: what to do.
    """

    def __init__(self, missing: list[str], total: int, remedy: str) -> None:
        self.all_missing = len(missing) == total
        shown = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
        super().__init__(f'{len(missing)} of {total} images have no label ({shown}): {remedy}')


def absolute(path: str) -> str:
    """Make a local path absolute, for messages; an address such as ``s3://...`` stays."""
    return path if '://' in path else osp.abspath(path)


def sample_of(dataset: BaseSegDataset, **values: Any) -> dict[str, Any]:
    """An entry of the ``data_list`` of a data set, with these values: paths that are None are left out."""
    given = {key: value for key, value in values.items() if value is not None or not key.endswith('_path')}
    return given | dict(label_map=dataset.label_map, reduce_zero_label=dataset.reduce_zero_label, seg_fields=[])


def refuse_places(dataset: object, places: str, arguments: Mapping[str, Any]) -> None:
    """Raise TypeError for arguments of OpenMMLab that say where files lie, which a data set finds by ``places``."""
    surplus = sorted({'ann_file', 'data_prefix', 'img_suffix', 'seg_map_suffix'} & arguments.keys())
    if surplus:
        raise TypeError(
            f'{type(dataset).__name__} finds its files by {places}, and takes no {", ".join(surplus)}: remove it, with '
            '_delete_=True where a config inherits it.'
        )
