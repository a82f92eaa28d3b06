"""A classifier as a function of raw pixels, for attacks."""

from collections.abc import Callable

from mmpretrain.models.classifiers import BaseClassifier
from torch import Tensor, nn

__all__ = ['pixel_logits']


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
        require_evaluation_mode(classifier, 'classifier')
        inputs = classifier.data_preprocessor({'inputs': images * 255}, False)['inputs']
        logits = classifier(inputs, mode='tensor')
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else f'a {type(logits).__name__}'
            raise TypeError(f'{type(classifier).__name__} must give logits (B, K) from a head, got {got}')
        return logits

    return logits_of


def require_evaluation_mode(model: nn.Module, kind: str) -> None:
    """Raise ValueError if any part of a model, called a ``kind``, is in training mode."""
    training = [name or 'the whole' for name, module in model.named_modules() if module.training]
    if training:
        raise ValueError(
            f'The {kind} is in training mode ({training[0]}): call {kind}.eval() first, or the attack meets batch '
            'statistics and dropout instead of the network that predicts.'
        )
