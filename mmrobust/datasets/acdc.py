"""ACDC: real fog, night, rain and snow, in the folders of its archives or merged into one folder per split."""

import os.path as osp
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmengine import fileio
from mmseg.datasets import BaseSegDataset
from mmseg.datasets import CityscapesDataset as MMSegCityscapesDataset

from mmrobust.datasets.cityscapes import LabelsMissingError, absolute, files_below, refuse_places, sample_of
from mmrobust.datasets.seeded_sampling import SeededSampling
from mmrobust.registry import DATASETS

CONDITIONS = ('fog', 'night', 'rain', 'snow')
SPLITS = ('train', 'val', 'test')

IMAGE_FOLDERS, IMAGE_SUFFIX = ('rgb_anon_trainvaltest/rgb_anon', 'rgb_anon'), '_rgb_anon.png'
LABEL_FOLDERS, LABEL_SUFFIX = ('gt_trainval/gt', 'gt'), '_gt_labelTrainIds.png'


class Image(NamedTuple):
    """One image of ACDC.

    Attributes:
        path: below ``data_root``, and starting with it.
        condition: fog, night, rain or snow; None where the conditions are merged.
        stem: what its label has in common: ``GOPR0475/GOPR0475_frame_000041``.
    """

    path: str
    condition: str | None
    stem: str


def conditions_known(data_root: str, split: str) -> bool:
    """Whether each image of a split lies in a folder of its condition; otherwise only all of them can be used."""
    return all(image.condition for image in _all_images(data_root, split, None))


def find_images(
    data_root: str, split: str, conditions: Sequence[str] = CONDITIONS, backend_args: dict | None = None
) -> list[Image]:
    """Find the images of a split, labelled or not, sorted by path, without the references taken in good weather.

    Args:
        data_root: Folder of ACDC, in a layout that :class:`ACDCDataset` knows.
        split: ``'train'``, ``'val'`` or ``'test'``.
        conditions: Some of fog, night, rain and snow, in any order.
        backend_args: File backend of MMEngine; None reads local files.

    Raises:
        FileNotFoundError, ValueError: Those of :class:`ACDCDataset`, except for labels.
    """
    _check_conditions(conditions)
    images = _all_images(data_root, split, backend_args)
    merged = sum(image.condition is None for image in images)
    if merged and set(conditions) != set(CONDITIONS):
        raise ValueError(
            f'conditions must be all of {", ".join(CONDITIONS)}, got {", ".join(conditions)}: {merged} of '
            f'{len(images)} images in {absolute(str(data_root))} lie in folders {split} that merge the '
            'conditions.'
        )
    present = {image.condition for image in images}
    lacking = [condition for condition in CONDITIONS if condition in conditions and condition not in present]
    if lacking and not merged:
        patterns = [
            f'{folder}/{middle}/**/*{IMAGE_SUFFIX}'
            for middle in (f'<condition>/{split}', split)
            for folder in IMAGE_FOLDERS
        ]
        raise ValueError(
            f'There is no image of {", ".join(lacking)} in the split {split!r} in {absolute(str(data_root))}, looked '
            f'for {", ".join(patterns)}: check data_root, and that rgb_anon_trainvaltest.zip is unzipped there.'
        )
    return [image for image in images if image.condition is None or image.condition in conditions]


@DATASETS.register_module()
class ACDCDataset(SeededSampling, BaseSegDataset):
    """ACDC (Sakaridis et al., ICCV 2021): 1920 x 1080 images, the 19 classes of Cityscapes, 255 is ignored.

    Two layouts are understood, and both at once: ``rgb_anon/{condition}/{split}/{sequence}`` of the archives, with or
    without their outer folders ``rgb_anon_trainvaltest`` and ``gt_trainval``, and ``rgb_anon/{split}/{sequence}``, with
    the conditions merged; ``gt`` likewise. An image that lies in both is taken once, with its condition. The
    references (``*_ref``) are never taken.

    Each sample carries ``condition`` (None where the conditions are merged). Samples of the test split have no
    ``seg_map_path``: its labels are withheld.

    Args:
        data_root: Folder with ``rgb_anon`` and ``gt``, or with ``rgb_anon_trainvaltest`` and ``gt_trainval``.
        split: ``'train'``, ``'val'`` or ``'test'``.
        conditions: Some of fog, night, rain and snow; their order does not matter.
        **kwargs: As in ``mmseg.BaseSegDataset``, except for those that say where files lie.

    Raises:
        FileNotFoundError: There is no folder ``data_root``, or there are images without a label.
        ValueError: There is no such split or condition, a condition has no image, or only some conditions are wanted
            where they are merged.
        TypeError: An argument says where files lie, such as ``data_prefix``.
    """

    METAINFO = MMSegCityscapesDataset.METAINFO

    def __init__(
        self, data_root: str, split: str = 'val', conditions: Sequence[str] = CONDITIONS, **kwargs: Any
    ) -> None:
        refuse_places(self, 'data_root, split and conditions', kwargs)
        _check_split(split)
        _check_conditions(conditions)
        self.split, self.conditions = split, tuple(conditions)
        super().__init__(
            data_root=str(data_root), img_suffix=IMAGE_SUFFIX, seg_map_suffix=LABEL_SUFFIX, data_prefix={}, **kwargs
        )

    def load_data_list(self) -> list[dict]:
        """Return one dict per image, sorted by its path."""
        images = find_images(self.data_root, self.split, self.conditions, self.backend_args)
        labels = [None] * len(images) if self.split == 'test' else self._find_labels(images)
        return [
            sample_of(self, img_path=image.path, condition=image.condition, seg_map_path=label)
            for image, label in zip(images, labels, strict=True)
        ]

    def _find_labels(self, images: list[Image]) -> list[str]:
        found = _find(self.data_root, LABEL_FOLDERS, self.split, LABEL_SUFFIX, self.backend_args)
        labels = [_label_of(image, found) for image in images]
        missing = [
            osp.join(self.data_root, LABEL_FOLDERS[-1], image.condition or '', self.split, image.stem + LABEL_SUFFIX)
            for image, label in zip(images, labels, strict=True)
            if label is None
        ]
        if missing:
            remedy = f'check that gt_trainval.zip is unzipped in {absolute(self.data_root)}.'
            raise LabelsMissingError(missing, len(images), remedy)
        return labels


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f'split must be one of {", ".join(SPLITS)}, got {split!r}.')


def _check_conditions(conditions: Sequence[str]) -> None:
    if not conditions or not set(conditions) <= set(CONDITIONS):
        raise ValueError(f'conditions must be a list of some of {", ".join(CONDITIONS)}, got {conditions!r}.')


def _all_images(data_root: str, split: str, backend_args: dict | None) -> list[Image]:
    _check_split(split)
    data_root = str(data_root)
    if not fileio.exists(data_root, backend_args=backend_args):
        raise FileNotFoundError(
            f'There is no ACDC in {absolute(data_root)}: unzip rgb_anon_trainvaltest.zip and gt_trainval.zip from '
            'https://acdc.vision.ee.ethz.ch there, or draw MiniCity with '
            '`python tools/dataset_converters/minicity.py`, whose data/minicity/acdc is a small stand-in.'
        )
    found = _find(data_root, IMAGE_FOLDERS, split, IMAGE_SUFFIX, backend_args)
    # Merging by a copy leaves every image in both layouts: once is enough, and the condition is worth keeping.
    known = {osp.basename(stem) for condition, stem in found if condition}
    return sorted(
        Image(path, condition, stem)
        for (condition, stem), path in found.items()
        if condition or osp.basename(stem) not in known
    )


def _find(
    data_root: str, folders: Sequence[str], split: str, suffix: str, backend_args: dict | None
) -> dict[tuple[str | None, str], str]:
    """List the files of a split as {(condition or None, path below the split without suffix): path}, each once."""
    found = {}
    for folder in folders:
        for condition in (*CONDITIONS, None):
            place = osp.join(data_root, folder, condition or '', split)
            for name in files_below(place, backend_args):
                # References lie beside the split (train_ref), but some copies have them in it.
                if name.endswith(suffix) and 'ref' not in name.lower():
                    found.setdefault((condition, name.removesuffix(suffix)), osp.join(place, name))
    return found


def _label_of(image: Image, labels: dict[tuple[str | None, str], str]) -> str | None:
    """Images and labels may lie in different layouts, but no label is taken that could be another image's."""
    places = [place for place in (image.condition, None) if (place, image.stem) in labels]
    if not places and image.condition is None:
        places = [place for place in CONDITIONS if (place, image.stem) in labels]
        if len(places) > 1:
            return None
    return labels[places[0], image.stem] if places else None
