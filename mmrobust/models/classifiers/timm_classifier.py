"""MMPretrain's classifier of timm, with the preprocessing that timm says, whoever builds it."""

from typing import Any

from mmpretrain.models import TimmClassifier as MMPretrainTimmClassifier

from mmrobust.models.classifiers.preprocessing_of_timm import PreprocessingOfTimm, preprocessor_of
from mmrobust.registry import MODELS

__all__ = ['TimmClassifier']


@MODELS.register_module()
class TimmClassifier(PreprocessingOfTimm, MMPretrainTimmClassifier):
    """A network of timm: images ``(B, 3, H, W)`` to scores ``(B, num_classes)``.

    Args:
        model_name: as in ``timm.create_model``.
        data_preprocessor: as in MMPretrain; ``mean`` and ``std`` may be ``'timm'``, the network's own.
        *args, **kwargs: as in MMPretrain's ``TimmClassifier``.

    Raises:
        ValueError: they are ``'timm'``, and timm does not know them.
    """

    def __init__(self, model_name: str, *args: Any, data_preprocessor: dict | None = None, **kwargs: Any) -> None:
        model = dict(kwargs, type='TimmClassifier', model_name=model_name, data_preprocessor=data_preprocessor)
        super().__init__(model_name, *args, data_preprocessor=preprocessor_of(model), **kwargs)
