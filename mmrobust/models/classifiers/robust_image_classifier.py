"""ImageClassifier with a loss on attention."""

import contextlib
from collections.abc import Mapping
from typing import Any

from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor, nn

from mmrobust.models.attention_loss import build_attention_loss
from mmrobust.models.classifiers.preprocessing_of_timm import PreprocessingOfTimm, preprocessor_of
from mmrobust.registry import MODELS


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
