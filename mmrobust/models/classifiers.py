"""ImageClassifier with a loss on attention; that and TimmClassifier with the preprocessing that timm says."""

import contextlib
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmpretrain.models import TimmClassifier as MMPretrainTimmClassifier
from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor, nn

from mmrobust.models.losses import build_attention_loss
from mmrobust.preprocessing import settle_preprocessing
from mmrobust.registry import MODELS


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


@MODELS.register_module()
class RobustImageClassifier(PreprocessingOfTimm, ImageClassifier):
    """MMPretrain's ``ImageClassifier`` that can train with a loss on attention, and on augmented patches besides.

    The head's loss is called ``loss_cls``: MMPretrain calls it ``loss``, which is the name of the total in the log.
    Prediction, testing and everything else are the parent's.

    With ``patch_augment`` a step passes the images twice, as RVT trains in the released code: with augmented patches
    and as they are, with the same labels. The total is the sum of the two losses of the head, of which the first is
    called ``augmented.loss_cls``, and of the loss on attention, which sees the images as they are only. The released
    code runs the backward pass of one before the other begins; here both are kept in memory at once.

    Args:
        loss_attn: config of a loss on attention, such as ``dict(type='mmrobust.AttentionDiversificationLoss')``, or
            None.
        patch_augment: arguments of :class:`~mmrobust.models.layers.PatchAugmentation`, such as ``dict(prob=0.1)``, or
            None for no second pass. Its ``mean`` and ``std`` are ImageNet's unless given, whatever those of
            ``data_preprocessor``.
        **kwargs: arguments of ``mmpretrain.ImageClassifier``; ``in_channels=None`` of its head takes the backbone's,
            and ``'timm'`` as mean and std of ``data_preprocessor`` what timm says of a backbone of its own.

    Raises:
        TypeError: if ``loss_attn`` is given and the backbone's attention cannot be observed.
        ValueError: if an argument in ``patch_augment`` is outside its range, or its patches do not fill the images.
    """

    def __init__(self, *args, loss_attn: dict | None = None, patch_augment: dict | None = None, **kwargs) -> None:
        head, backbone = kwargs.get('head'), kwargs.get('backbone')
        if isinstance(backbone, Mapping) and kwargs.get('data_preprocessor'):
            kwargs['data_preprocessor'] = preprocessor_of(kwargs)
        if isinstance(head, Mapping) and 'in_channels' in head and head['in_channels'] is None:
            with contextlib.suppress(AttributeError):  # the head says that it needs a number
                kwargs['backbone'] = backbone if isinstance(backbone, nn.Module) else MODELS.build(backbone)
                kwargs['head'] = {**head, 'in_channels': kwargs['backbone'].embed_dims}
        super().__init__(*args, **kwargs)
        self.loss_attn = build_attention_loss(loss_attn, self.backbone)
        self.patch_augment = (
            None if patch_augment is None else MODELS.build({'type': 'mmrobust.PatchAugmentation', **patch_augment})
        )

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of the head, of attention where ``loss_attn`` is set, and of augmented patches while training.

        Args:
            inputs: images ``(B, 3, H, W)``, normalised, and mixed where the data preprocessor mixes them.
            data_samples: B samples with ``gt_label`` or ``gt_score``.
        """
        losses = {}
        if self.patch_augment is not None and self.training:
            of_head = self._head_losses(self.extract_feat(self.patch_augment(inputs)), data_samples)
            losses |= {f'augmented.{name}': value for name, value in of_head.items()}
        if self.loss_attn is None:
            feats = self.extract_feat(inputs)
        else:
            feats, terms = self.backbone(inputs, self.loss_attn.layer_term)
            if self.with_neck:
                feats = self.neck(feats)
            losses |= self.loss_attn.losses(terms)
        return self._head_losses(feats, data_samples) | losses

    def _head_losses(self, feats: tuple[Any, ...], data_samples: list) -> dict[str, Tensor]:
        losses = self.head.loss(feats, data_samples)
        return {('loss_cls' if name == 'loss' else name): value for name, value in losses.items()}


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
