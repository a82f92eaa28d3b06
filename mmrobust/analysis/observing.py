"""Access to the attention of any task model: its backbone and its preprocessed images."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmrobust.registry import MODELS


def require_observable(model: nn.Module) -> nn.Module:
    """The backbone of a task model; of MMPretrain's ``TimmClassifier`` one around its network, in the same mode.

    Raises:
        TypeError: its attention cannot be observed.
        ValueError: the network of timm is of a kind that is not run here.
    """
    if type(model).__name__ in ('TimmClassifier', 'NetworkOfTimm'):
        return MODELS.build(dict(type='mmrobust.TimmViT', model_name=model.model)).train(model.training)
    backbone = getattr(model, 'backbone', None)
    if backbone is None or 'observe' not in inspect.signature(backbone.forward).parameters:
        raise TypeError(
            f'attention can be observed in backbones of this project, such as mmrobust.FAN or mmrobust.TimmViT, but '
            f'not in {type(backbone or model).__name__}'
        )
    return backbone


def preprocess(
    model: nn.Module, images: Sequence[Tensor], data_samples: Sequence[Any], training: bool = False
) -> Tensor:
    """Input of a task model's backbone for images: ``(I, 3, H, W)``, normalised.

    Args:
        model: of MMSegmentation or MMPretrain.
        images: I of ``(3, h, w)``, 0 to 255, in the channel order of the data pipeline.
        data_samples: theirs; they are not changed.
        training: pad, and mix, as in training; else as in a test, where all are of one size.
    """
    data = dict(inputs=list(images), data_samples=copy.deepcopy(list(data_samples)))
    return model.data_preprocessor(data, training)['inputs']
