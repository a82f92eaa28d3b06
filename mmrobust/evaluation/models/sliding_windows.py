"""Sliding-window prediction in batches; MMSegmentation predicts one window at a time."""

import functools
from itertools import product

import torch
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

__all__ = ['batch_windows']


def batch_windows(model: EncoderDecoder, window_batch: int) -> None:
    """Let a model predict so many windows of each image in one forward pass; only this model is changed.

    Windows, their order and their mean are those of MMSegmentation, so logits differ by the rounding of a larger batch
    at most.

    Raises:
        ValueError: ``window_batch`` is below 1; the model predicts without MMSegmentation's sliding windows; or the
            windows leave gaps.
    """
    if window_batch < 1:
        raise ValueError(f'window_batch must be 1 or more, got {window_batch}')
    if getattr(type(model), 'slide_inference', None) is not EncoderDecoder.slide_inference:
        raise ValueError(
            f'window_batch must be 1 for {type(model).__name__}, got {window_batch}: it does not use the sliding '
            "windows of MMSegmentation's EncoderDecoder"
        )
    mode = model.test_cfg.get('mode', 'whole')
    if mode != 'slide':
        raise ValueError(f"window_batch must be 1 where test_cfg.mode is not 'slide', got {window_batch} and {mode!r}")
    crop, stride = tuple(model.test_cfg.crop_size), tuple(model.test_cfg.stride)
    if any(step > length for step, length in zip(stride, crop, strict=True)):
        raise ValueError(f'test_cfg.stride must be at most crop_size {crop}, got {stride}: the windows leave gaps')
    model.slide_inference = functools.partial(_slide_inference, model, window_batch)


def _slide_inference(model: EncoderDecoder, window_batch: int, inputs: Tensor, metas: list[dict]) -> Tensor:
    """In place of ``EncoderDecoder.slide_inference``: images ``(B, 3, H, W)`` to logits ``(B, K, H, W)``."""
    images, _, height, width = inputs.shape
    windows = list(product(*map(_spans, (height, width), model.test_cfg.crop_size, model.test_cfg.stride)))
    logits = inputs.new_zeros((images, model.out_channels, height, width))
    count = inputs.new_zeros((1, 1, height, width))
    for start in range(0, len(windows), window_batch):
        together = windows[start : start + window_batch]
        crops = torch.cat([inputs[..., rows, columns] for rows, columns in together])
        # a torch.Size is what tells MMSegmentation's heads that this is a window
        cropped = [{**meta, 'img_shape': crops.shape[2:]} for meta in metas] * len(together)
        found = model.encode_decode(crops, cropped).split(images)
        for (rows, columns), part in zip(together, found, strict=True):
            logits[..., rows, columns] += part
            count[..., rows, columns] += 1
    return logits.div_(count)


def _spans(length: int, crop: int, stride: int) -> list[slice]:
    """The windows along one side: the last one is moved back to end with the image, a small image is one window."""
    ends = [min(step * stride + crop, length) for step in range(max(length - crop + stride - 1, 0) // stride + 1)]
    return [slice(max(end - crop, 0), end) for end in ends]
