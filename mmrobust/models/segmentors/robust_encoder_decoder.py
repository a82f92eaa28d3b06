"""EncoderDecoder with a loss on attention."""

from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

from mmrobust.models.attention_loss import build_attention_loss
from mmrobust.registry import MODELS


@MODELS.register_module()
class RobustEncoderDecoder(EncoderDecoder):
    """MMSegmentation's ``EncoderDecoder`` that can train with a loss on the backbone's attention.

    Prediction, testing and everything else are the parent's.

    Args:
        loss_attn: config of a loss on attention, such as ``dict(type='mmrobust.AttentionDiversificationLoss')``; None
            leaves the parent as it is.
        **kwargs: arguments of ``mmseg.EncoderDecoder``.

    Raises:
        TypeError: if ``loss_attn`` is given and the backbone's attention cannot be observed.
    """

    def __init__(self, *args, loss_attn: dict | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.loss_attn = build_attention_loss(loss_attn, self.backbone)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of the heads, and of attention where ``loss_attn`` is set.

        Args:
            inputs: images ``(B, 3, H, W)``, normalised.
            data_samples: B samples with ``gt_sem_seg``.
        """
        if self.loss_attn is None:
            return super().loss(inputs, data_samples)
        feats, terms = self.backbone(inputs, self.loss_attn.layer_term)
        if self.with_neck:
            feats = self.neck(feats)
        losses = self._decode_head_forward_train(feats, data_samples)
        if self.with_auxiliary_head:
            losses |= self._auxiliary_head_forward_train(feats, data_samples)
        return losses | self.loss_attn.losses(terms)
