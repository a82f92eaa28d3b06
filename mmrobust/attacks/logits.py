"""Classifiers and segmentation models as functions of raw pixels, for attacks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from mmpretrain.models.classifiers import BaseClassifier
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def pixel_logits(classifier: BaseClassifier) -> Callable[[Tensor], Tensor]:
    """The logits of an MMPretrain classifier as a differentiable function of images in [0, 1].

    The function scales the images to [0, 255] and hands them to the classifier's own data preprocessor, then the result
    to the classifier. So mean, std, padding and the order of channels are those of any other prediction.

    The channels are in the order in which the data pipeline delivers them, which the data preprocessor expects: with
    ``to_rgb=True`` that is BGR. For a batch of the pipeline, ``batch['inputs'] / 255`` are the images. A pipeline that
    normalises by itself does not deliver pixels, and such a classifier cannot be attacked in this way.

    Args:
        classifier: an MMPretrain classifier in evaluation mode, such as ``ImageClassifier`` or
            ``mmrobust.RobustImageClassifier``. Nothing of it is changed.

    Returns:
        A function of images ``(B, 3, H, W)`` that returns logits ``(B, K)``, on the device of the classifier.

    Raises:
        TypeError: here for a model that is no MMPretrain classifier; in the function for one without a head, or
            whose head gives something else than logits ``(B, K)``.
        ValueError: in the function, if any part of the classifier is in training mode.
    """
    if not isinstance(classifier, BaseClassifier):
        raise TypeError(f'classifier must be one of MMPretrain, got {type(classifier).__name__}')

    def logits_of(images: Tensor) -> Tensor:
        _require_evaluation_mode(classifier, 'classifier')
        inputs = classifier.data_preprocessor({'inputs': images * 255}, False)['inputs']
        logits = classifier(inputs, mode='tensor')
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else f'a {type(logits).__name__}'
            raise TypeError(f'{type(classifier).__name__} must give logits (B, K) from a head, got {got}')
        return logits

    return logits_of


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
        _require_evaluation_mode(segmentor, 'segmentor')
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


def _require_evaluation_mode(model: nn.Module, kind: str) -> None:
    """Raise ValueError if any part of a model, called a ``kind``, is in training mode."""
    training = [name or 'the whole' for name, module in model.named_modules() if module.training]
    if training:
        raise ValueError(
            f'The {kind} is in training mode ({training[0]}): call {kind}.eval() first, or the attack meets batch '
            'statistics and dropout instead of the network that predicts.'
        )
