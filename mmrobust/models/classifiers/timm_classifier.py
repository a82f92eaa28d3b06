"""MMPretrain's classifier of timm, with the preprocessing that timm says, whoever builds it."""

from typing import Any

from mmengine.config import Config
from mmpretrain.models import TimmClassifier as MMPretrainTimmClassifier

from mmrobust.preprocessing import settle_preprocessing
from mmrobust.registry import MODELS

__all__ = ['TimmClassifier']


@MODELS.register_module()
class TimmClassifier(MMPretrainTimmClassifier):
    """A network of timm: images ``(B, 3, H, W)`` to scores ``(B, num_classes)``.

    The tools settle its preprocessing in the config. Where a config is built as it is, as in MMPretrain's
    ``get_model`` and ``ImageClassificationInferencer``, the model does so for itself, and for the pipelines of the
    config that it is given as ``_config``.

    Args:
        model_name: as in ``timm.create_model``.
        data_preprocessor: as in MMPretrain; ``mean`` and ``std`` may be ``'timm'``, the network's own.
        *args, **kwargs: as in MMPretrain's ``TimmClassifier``.

    Raises:
        ValueError: they are ``'timm'``, and timm does not know them.
    """

    def __init__(self, model_name: str, *args: Any, data_preprocessor: dict | None = None, **kwargs: Any) -> None:
        model = dict(kwargs, type='TimmClassifier', model_name=model_name, data_preprocessor=data_preprocessor or {})
        if 'timm' in model['data_preprocessor'].values():
            config = Config(dict(model=model))
            settle_preprocessing(config)
            data_preprocessor = config.model.data_preprocessor
            if 'timm' in data_preprocessor.values():
                raise ValueError(
                    f"model.data_preprocessor must give the numbers of {model_name}, got 'timm', which knows no mean "
                    'and std of it.'
                )
        super().__init__(model_name, *args, data_preprocessor=data_preprocessor, **kwargs)

    @property
    def _config(self) -> Config:
        return self.__dict__['config_of_model']

    @_config.setter
    def _config(self, config: Config) -> None:
        settle_preprocessing(config)
        self.__dict__['config_of_model'] = config
