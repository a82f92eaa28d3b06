"""The preprocessing that timm says, for a classifier that is built from a config as it is."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmrobust.preprocessing import settle_preprocessing


class PreprocessingOfTimm:
    """Settles the pipelines of the config that a model is given as ``_config``, as MMPretrain's ``get_model`` does.

    The tools settle the preprocessing of a network of timm in the config before they build anything. ``get_model`` and
    ``ImageClassificationInferencer`` build a config as it is.
    """

    @property
    def _config(self) -> Config:
        return self.__dict__['config_of_model']

    @_config.setter
    def _config(self, config: Config) -> None:
        settle_preprocessing(config)
        self.__dict__['config_of_model'] = config


def preprocessor_of(model: Mapping[str, Any]) -> Any:
    """``data_preprocessor`` of a model's config, its mean and std in numbers.

    Raises:
        ValueError: they are ``'timm'``, and timm does not know them.
    """
    given = model.get('data_preprocessor')
    if not isinstance(given, Mapping) or 'timm' not in given.values():
        return given
    config = Config(dict(model=model))
    settle_preprocessing(config)
    settled = config.model.data_preprocessor
    if 'timm' in settled.values():
        name = (model.get('backbone') or model).get('model_name')
        raise ValueError(
            f"model.data_preprocessor must give the numbers of {name}, got 'timm', which knows no mean and std of it."
        )
    return settled
