"""An MMSegmentation model under evaluation, and its predictions."""

import functools
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import mmseg.models  # noqa: F401 (registers the models of its scope)
import numpy as np
import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmrobust.attacks import segmentor_logits
from mmrobust.evaluation.models.evaluated_model import Attack, EvaluatedModel
from mmrobust.evaluation.statistics import LEVELS


class Prediction(NamedTuple):
    """Prediction of a segmentation model for one image, in the image's own size.

    Attributes:
        path: the image's file.
        classes: ``(H, W)`` int16, 0 to K - 1.
        label: ``(H, W)`` integer, or None where labels are withheld.
        confidence: ``(H, W)`` int16, level of the largest probability, see
            :mod:`mmrobust.evaluation.statistics.calibration`; None where nobody asked.
    """

    path: str
    classes: np.ndarray
    label: np.ndarray | None
    confidence: np.ndarray | None = None


class SegmentationModel(EvaluatedModel):
    """A segmentation model with its weights.

    Args:
        args, kwargs: those of the base class.
        window_batch: sliding windows of each image per forward pass, see
            :func:`batch_windows`; 1 leaves the model as it is.

    Raises:
        ValueError: ``window_batch`` does not suit the model; the errors of the base class.
        TypeError, FileNotFoundError: those of the base class.
    """

    scope = 'mmseg'

    def __init__(self, *args: Any, window_batch: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if window_batch != 1:
            batch_windows(self.model, window_batch)

    def predict(self, dataset: dict, attack: Attack | None = None, confidence: bool = False) -> Iterator[Prediction]:
        """Predict every image of a dataset config, in its order, after an attack on its pixels if there is one.

        A GPU has begun with the next batch when the images of a batch are yielded.

        Args:
            dataset: config of the images.
            attack: on their pixels; None for none.
            confidence: also return the confidence of each pixel: softmax of the logits of which the prediction is the
                best, so of the mean of overlapping windows, in the size of the image.

        Raises:
            ValueError: an image that is to be attacked has no label; confidence is asked of a model whose outputs are
                not known to be logits.
        """
        if confidence:
            _require_logits(self.model)
        begun: list[Callable[[], Prediction]] = []
        for batch in self.loader(dataset):
            before, begun = begun, self._begin(batch, attack, confidence)
            yield from (finish() for finish in before)
        yield from (finish() for finish in begun)

    def _begin(self, batch: dict, attack: Attack | None, confidence: bool) -> list[Callable[[], Prediction]]:
        """Start to predict a batch: for each image a function that waits for its prediction and returns it."""
        # labels stay here: they would go to the GPU and back, and a model that predicts does not need them
        labels = [_take_label(sample) for sample in batch['data_samples']]
        if attack is not None:
            batch['inputs'] = [
                self._attacked(*one, attack) for one in zip(batch['inputs'], batch['data_samples'], labels, strict=True)
            ]
        with self.predicting():
            samples = self.model.test_step(batch)
        return [
            _fetch_later(
                sample.img_path,
                sample.pred_sem_seg.data.squeeze(0).to(torch.int16),
                label,
                _levels(sample.seg_logits.data) if confidence else None,
            )
            for sample, label in zip(samples, labels, strict=True)
        ]

    def _attacked(self, image: Tensor, sample: SegDataSample, label: np.ndarray | None, attack: Attack) -> Tensor:
        """An image as an adversarial one: pixels 0 to 255, not rounded. Alone, so that no batch decides a rounding."""
        if label is None:
            raise ValueError(f'an image must have a label to be attacked, but {sample.img_path} has none')
        pixels, classes = image[None].to(self.device) / 255, torch.from_numpy(label)[None].to(self.device).long()
        return 255 * attack(segmentor_logits(self.model, [sample]), pixels, classes, [sample.img_path])[0]


def _take_label(sample: SegDataSample) -> np.ndarray | None:
    if 'gt_sem_seg' not in sample:
        return None
    label = sample.gt_sem_seg.data.squeeze(0).numpy()
    del sample.gt_sem_seg
    return label


def _require_logits(model: nn.Module) -> None:
    """Raise ValueError unless the last head's outputs go to the prediction as they are, as those of a softmax do."""
    head = getattr(model, 'decode_head', None)
    head = head[-1] if isinstance(head, nn.ModuleList) else head
    if getattr(type(head), 'predict_by_feat', None) is not BaseDecodeHead.predict_by_feat:
        raise ValueError(
            f'calibration takes a model whose head returns logits, got {type(head).__name__}, whose outputs may be '
            'scores of masks: leave calibration out'
        )


def _levels(logits: Tensor) -> Tensor:
    """Level of the largest probability of each pixel, ``(K, H, W)`` to ``(H, W)`` int16; -1 where it is NaN.

    Of a model with one output, MMSegmentation returns the probability of class 1.
    """
    logits = logits.float()
    if len(logits) == 1:
        found = torch.maximum(logits, 1 - logits)[0]
    else:
        found = (logits - logits.amax(0)).exp_().sum(0).reciprocal_()
    return (found * LEVELS).clamp_(max=LEVELS - 1).nan_to_num_(nan=-1).to(torch.int16)


def _fetch_later(
    path: str, classes: Tensor, label: np.ndarray | None, levels: Tensor | None
) -> Callable[[], Prediction]:
    # the copy is queued before the next batch, or it would wait for that; only on a GPU is anything awaited
    copied = classes.to('cpu', non_blocking=True)
    confidence = None if levels is None else levels.to('cpu', non_blocking=True)
    event = torch.cuda.current_stream(classes.device).record_event() if classes.is_cuda else None

    def finish() -> Prediction:
        if event is not None:
            event.synchronize()
        return Prediction(path, copied.numpy(), label, None if confidence is None else confidence.numpy())

    return finish


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
