"""A corruption of a part of the image: a rectangle, or the pixels of a class."""

from collections.abc import Sequence

import numpy as np
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS

from mmrobust.datasets.transforms.corrupt import Corrupt
from mmrobust.registry import TRANSFORMS

__all__ = ['CorruptRegion', 'region_mask', 'region_of']

# a class index, or x0, y0, x1, y1 in pixels, of which the last two lie outside
Region = int | tuple[int, int, int, int]


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
