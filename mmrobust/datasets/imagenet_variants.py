"""ImageNet's validation images and their relatives V2, A, R, Sketch, C, C-bar and 3DCC, labelled among 1000 classes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from mmengine import fileio
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from mmrobust.corruptions import check_corruption
from mmrobust.datasets.cityscapes import absolute, refuse_places
from mmrobust.datasets.corruption_sets import CORRUPTION_SETS
from mmrobust.datasets.image_folder import IMAGE_SUFFIXES, files_of_classes, refusal
from mmrobust.registry import DATASETS

_CLASSES = yaml.safe_load(Path(__file__).with_name('imagenet_classes.yml').read_text(encoding='utf-8'))
WNIDS = tuple(_CLASSES['wnids'].split())
#: By the name of the variant, which of the 1000 classes it has.
SUBSETS = {name: tuple(map(int, _CLASSES[name].split())) for name in ('imagenet-a', 'imagenet-r')}
OF_CORRUPTIONS = ('imagenet-c', 'imagenet-c-bar', 'imagenet-3dcc')


class Variant(NamedTuple):
    """A data set of one folder per class.

    Attributes:
        title: name for messages.
        folders: names of the class folders, by ascending index of the class.
        num_images: number of images, as published.
        remedy: what to do if something is missing.
    """

    title: str
    folders: tuple[str, ...]
    num_images: int
    remedy: str


def _folders(subset: str) -> tuple[str, ...]:
    return tuple(WNIDS[index] for index in SUBSETS[subset])


#: By name. The folders of ImageNet-V2 are the indices themselves, 0 to 999; sorted as text they are in another order.
VARIANTS = {
    'imagenet': Variant(
        'ImageNet',
        WNIDS,
        50000,
        'download ILSVRC2012_img_val.tar from https://image-net.org and sort its images into one folder per wnid',
    ),
    'imagenet-v2': Variant(
        'ImageNet-V2',
        tuple(map(str, range(1000))),
        10000,
        'download and unpack one of its three versions from https://github.com/modestyachts/ImageNetV2',
    ),
    'imagenet-a': Variant(
        'ImageNet-A',
        _folders('imagenet-a'),
        7500,
        'download and unpack imagenet-a.tar from https://github.com/hendrycks/natural-adv-examples',
    ),
    'imagenet-r': Variant(
        'ImageNet-R',
        _folders('imagenet-r'),
        30000,
        'download and unpack imagenet-r.tar from https://github.com/hendrycks/imagenet-r',
    ),
    'imagenet-sketch': Variant(
        'ImageNet-Sketch', WNIDS, 50889, 'download and unpack it from https://github.com/HaohanWang/ImageNet-Sketch'
    ),
} | {
    name: Variant(of.title, WNIDS, of.num_images, f'download and unpack its archives from {of.source}')
    for name, of in CORRUPTION_SETS.items()
    if name in OF_CORRUPTIONS
}


@DATASETS.register_module()
class ImageNetVariant(BaseDataset):
    """ImageNet's validation images, or ImageNet-V2, -A, -R, -Sketch, -C, -C-bar or -3DCC, for MMPretrain.

    ``gt_label`` is the index among the 1000 classes for all of them. ``metainfo['subset']`` holds the indices of the
    200 classes of ImageNet-A and -R, to which the scores of a model have to be restricted there; None for the others.

    The images of ImageNet-C, -C-bar and -3DCC are 224 x 224 already. The protocol crops the centre,
    224 x 224, and resizes nothing: ``dict(type='CenterCrop', crop_size=224)`` without a resize before it.

    Args:
        data_root: Folder with one folder per class; for sets of corruptions the folder with
            ``<corruption>/<severity>/<wnid>/*.JPEG``.
        variant: A name of ``VARIANTS``.
        corruption: Of a set of corruptions, one that it has, the 4 extra ones of ImageNet-C among them.
        severity: Of a set of corruptions, 1 to 5.
        expected_images: Number of images that must be there; None means the published number. For a smaller set of
            one's own, which has all classes all the same.
        **kwargs: As in ``mmpretrain.BaseDataset``, except for those that say where files lie.

    Raises:
        FileNotFoundError: The folder, or that of the corruption and severity, is not there.
        ValueError: There is no such variant, corruption or severity; class folders are missing or unexpected; a class
            has no image; there are not as many images as expected.
        TypeError: The severity is not an integer; an argument says where files lie, such as ``data_prefix``.
    """

    METAINFO = {'classes': IMAGENET_CATEGORIES}

    def __init__(
        self,
        data_root: str,
        variant: str,
        corruption: str | None = None,
        severity: int | None = None,
        expected_images: int | None = None,
        **kwargs: Any,
    ) -> None:
        refuse_places(self, 'data_root', kwargs)
        if variant not in VARIANTS:
            raise ValueError(f'variant must be one of {", ".join(VARIANTS)}, got {variant!r}')
        if variant in OF_CORRUPTIONS:
            of = CORRUPTION_SETS[variant]
            check_corruption(corruption, severity, known=of.corruptions + of.extra)
        elif (corruption, severity) != (None, None):
            owners = ', '.join(OF_CORRUPTIONS)
            raise ValueError(f'only {owners} have a corruption and a severity, got {corruption!r}, {severity!r}')
        self.variant, self.corruption, self.severity = variant, corruption, severity
        self.expected_images = VARIANTS[variant].num_images if expected_images is None else expected_images
        metainfo = dict(subset=SUBSETS.get(variant)) | (kwargs.pop('metainfo', None) or {})
        super().__init__(ann_file='', data_root=str(data_root), metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one dict per image, sorted by class and name."""
        title, folders, _, remedy = VARIANTS[self.variant]
        folder = self.data_root
        if self.variant in OF_CORRUPTIONS:
            check_cells(self.variant, folder, [(self.corruption, self.severity)])
            folder = fileio.join_path(folder, self.corruption, str(self.severity))
            remedy = _unpack_again(self.variant, [self.corruption], self.data_root)
        files = files_of_classes(folder, folders, IMAGE_SUFFIXES, title, remedy)
        if len(files) != self.expected_images:
            found = f'{len(files)} images, not the expected {self.expected_images}'
            raise refusal(title, folder, found, f'{remedy}, or set expected_images for a smaller set of your own')
        labels = SUBSETS.get(self.variant, range(len(folders)))
        return [dict(img_path=path, gt_label=labels[place]) for path, place in files]


def check_cells(name: str, data_root: str, cells: Iterable[tuple[str, int]]) -> None:
    """Refuse a set that is not unpacked completely, before hours are spent on the part that is there.

    Only the folders of corruptions and severities are looked for; :class:`ImageNetVariant` counts the images of one.

    Args:
        name: Of a set of ``CORRUPTION_SETS`` in folders.
        data_root: Folder with ``<corruption>/<severity>/<wnid>/*.JPEG``.
        cells: The (corruption, severity) that are needed.

    Raises:
        FileNotFoundError: A folder is missing; the sentence says which.
    """
    data_root = str(data_root)
    lacking = [
        (corruption, severity)
        for corruption, severity in cells
        if not fileio.isdir(fileio.join_path(data_root, corruption, str(severity)))
    ]
    if lacking:
        shown = ', '.join(f'{corruption}/{severity}' for corruption, severity in lacking[:5])
        shown += f' and {len(lacking) - 5} more' if len(lacking) > 5 else ''
        remedy = _unpack_again(name, [corruption for corruption, _ in lacking], data_root)
        raise FileNotFoundError(
            f'There is no {CORRUPTION_SETS[name].title} {shown} in {absolute(data_root)}: {remedy}.'
        )


def _unpack_again(name: str, corruptions: Sequence[str], data_root: str) -> str:
    return f'{CORRUPTION_SETS[name].remedy(corruptions)} in {absolute(data_root)}'
