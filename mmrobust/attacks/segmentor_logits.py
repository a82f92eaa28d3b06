"""A segmentation model as a function of raw pixels, for attacks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmrobust.attacks.pixel_logits import require_evaluation_mode

__all__ = ['segmentor_logits']


def segmentor_logits(segmentor: BaseSegmentor, samples: Sequence[SegDataSample]) -> Callable[[Tensor], Tensor]:
    """The logits of an MMSegmentation model as a differentiable function of images in [0, 1].

    They are those of which a prediction is the best: the images are scaled to [0, 255] and take the model's own way of
    ``mode='predict'``, with mean, std, padding, sliding windows or the whole image, cut padding, and resizing to the
    original size. The channels are in the order in which the data pipeline delivers them, see
    :func:`mmrobust.attacks.pixel_logits`.

    With sliding windows a gradient would need the activations of all windows at once. Here they are dropped after each
    window and made again, a window at a time, when its gradient is asked for: first all logits without a graph, then
    their gradient, then window by window that of the pixels. The gradient is the same, that of the mean of overlapping
    windows included; it costs one more forward pass.

    Args:
        segmentor: any of MMSegmentation in evaluation mode. Nothing of it is changed.
        samples: of the images, as the data pipeline delivers them; their ``metainfo`` is used.

    Returns:
        A function of images ``(B, 3, H, W)`` that returns logits ``(B, K, h, w)``, h x w the original size.

    Raises:
        TypeError: the model is none of MMSegmentation.
        ValueError: in the function, if any part of the model is in training mode, or it has one output only.
    """
    if not isinstance(segmentor, BaseSegmentor):
        raise TypeError(f'segmentor must be one of MMSegmentation, got {type(segmentor).__name__}')
    metas = [dict(sample.metainfo) for sample in samples]

    def logits_of(images: Tensor) -> Tensor:
        require_evaluation_mode(segmentor, 'segmentor')
        fresh = [SegDataSample(metainfo=meta) for meta in metas]  # a prediction writes into them
        data = segmentor.data_preprocessor({'inputs': list(images * 255), 'data_samples': fresh}, False)
        with _windows_made_again(segmentor):
            found = segmentor(**data, mode='predict')
        logits = torch.stack([sample.seg_logits.data for sample in found])
        if logits.size(1) < 2:
            raise ValueError(f'{type(segmentor).__name__} must have 2 outputs or more to be attacked, got 1')
        return logits

    return logits_of


@contextmanager
def _windows_made_again(segmentor: BaseSegmentor) -> Iterator[None]:
    """Let ``encode_decode`` keep nothing for the gradient but its inputs, if it is called for sliding windows."""
    encode_decode = getattr(segmentor, 'encode_decode', None)
    if encode_decode is None or (getattr(segmentor, 'test_cfg', None) or {}).get('mode') != 'slide':
        yield
        return

    def again(inputs: Tensor, metas: list[dict]) -> Tensor:
        # copies: MMSegmentation writes the size of the next window into the same ones
        return checkpoint(encode_decode, inputs, [dict(meta) for meta in metas], use_reentrant=False)

    before = vars(segmentor).get('encode_decode')
    segmentor.encode_decode = again
    try:
        yield
    finally:
        del segmentor.encode_decode
        if before is not None:
            segmentor.encode_decode = before
