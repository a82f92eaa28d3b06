"""CIFAR-10-C and CIFAR-100-C as published: a NumPy file for each corruption, and one of labels."""

import os.path as osp
from pathlib import Path
from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import CIFAR10_CATEGORIES, CIFAR100_CATEGORIES

from mmrobust.corruptions import CORRUPTIONS, SEVERITIES, check_corruption
from mmrobust.datasets.corruption_sets import CORRUPTION_SETS
from mmrobust.registry import DATASETS

SIDE = 32


@DATASETS.register_module()
class CIFARC(BaseDataset):
    """One corruption at one severity of CIFAR-10-C or CIFAR-100-C (Hendrycks and Dietterich, ICLR 2019).

    ``<corruption>.npy`` holds the test set five times, by severity: ``(5 N, 32, 32, 3)`` uint8, RGB; ``labels.npy`` the
    labels ``(5 N,)``. A sample has its image in ``img``, so the pipeline needs no step that loads.

    Args:
        data_root: Folder of the files.
        corruption: One of the 15 or of the 4 extra ones.
        severity: 1 to 5.
        num_classes: 10 or 100.
        channel_order: Of the images: ``'rgb'`` as in MMPretrain's CIFAR10, or ``'bgr'`` as from files.
        expected_images: N; None means the published 10000.
        **kwargs: As in ``mmpretrain.BaseDataset``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: An argument is not allowed, or a file holds other arrays.
        TypeError: The severity is not an integer.
    """

    def __init__(
        self,
        data_root: str,
        corruption: str,
        severity: int,
        num_classes: int = 10,
        channel_order: str = 'rgb',
        expected_images: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_corruption(corruption, severity)
        if num_classes not in (10, 100):
            raise ValueError(f'num_classes must be 10 or 100, got {num_classes}')
        if channel_order not in ('rgb', 'bgr'):
            raise ValueError(f"channel_order must be 'rgb' or 'bgr', got {channel_order!r}")
        self.corruption, self.severity, self.num_classes = corruption, severity, num_classes
        self.channel_order = channel_order
        self.set = CORRUPTION_SETS[f'cifar-{num_classes}-c']
        self.expected_images = self.set.num_images if expected_images is None else expected_images
        classes = CIFAR10_CATEGORIES if num_classes == 10 else CIFAR100_CATEGORIES
        metainfo = dict(classes=classes) | (kwargs.pop('metainfo', None) or {})
        super().__init__(ann_file='', data_root=str(data_root), metainfo=metainfo, **kwargs)

    def check_files(self) -> tuple[np.ndarray, np.ndarray]:
        """Return images ``(5 N, 32, 32, 3)`` and labels ``(5 N,)``, mapped from the disk, if they are as published.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: A file holds another array.
        """
        total = self.expected_images * len(SEVERITIES)
        images = self._array(f'{self.corruption}.npy', (total, SIDE, SIDE, 3))
        labels = self._array('labels.npy', (total,))
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise ValueError(
                f'{self.data_root}/labels.npy must hold 0 to {self.num_classes - 1} for {self.set.title}, got '
                f'{labels.min()} to {labels.max()}'
            )
        return images, labels

    def load_data_list(self) -> list[dict]:
        """Return one dict per image, in the order of the file."""
        number = self.expected_images
        images, labels = self.check_files()
        part = slice((self.severity - 1) * number, self.severity * number)
        images = np.ascontiguousarray(images[part] if self.channel_order == 'rgb' else images[part][..., ::-1])
        # a name below data_root, though it is no file
        names = [osp.join(self.data_root, f'{self.corruption}.npy', f'{index:05d}') for index in range(number)]
        return [
            dict(img=image, img_path=name, gt_label=int(label), img_shape=image.shape[:2], ori_shape=image.shape[:2])
            for image, name, label in zip(images, names, labels[part], strict=True)
        ]

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        path = Path(self.data_root, name)
        if not path.is_file():
            raise FileNotFoundError(
                f'There is no {self.set.title} {name} in {self.data_root}: {self.set.remedy(CORRUPTIONS)}.'
            )
        try:
            found = np.load(path, mmap_mode='r', allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f'{path} is no array of NumPy ({error}): {self.set.remedy(CORRUPTIONS)}') from error
        kind = 'uint8' if len(shape) > 1 else 'integer'
        if found.shape != shape or not (found.dtype == np.uint8 or (kind == 'integer' and found.dtype.kind in 'iu')):
            raise ValueError(
                f'{path} must be {kind} {shape}, got {found.dtype} {found.shape}: {self.set.remedy(CORRUPTIONS)}, or '
                'set expected_images for a smaller set of your own'
            )
        return found
