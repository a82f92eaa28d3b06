"""Where attention meets its loss in classification."""

from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor

from mmrobust.models.attention_loss import build_attention_loss
from mmrobust.registry import MODELS


@MODELS.register_module()
class RobustImageClassifier(ImageClassifier):
    """MMPretrain's ``ImageClassifier`` that can train with a loss on the backbone's attention.

    The head's loss is called ``loss_cls``: MMPretrain calls it ``loss``, which is the name of the total in the log.
    Prediction, testing and everything else are the parent's.

    Args:
        loss_attn: config of a loss on attention, such as ``dict(type='mmrobust.AttentionDiversificationLoss')``, or
            None.
        **kwargs: arguments of ``mmpretrain.ImageClassifier``.

    Raises:
        TypeError: if ``loss_attn`` is given and the backbone's attention cannot be observed.
    """

    def __init__(self, *args, loss_attn: dict | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.loss_attn = build_attention_loss(loss_attn, self.backbone)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of the head, and of attention where ``loss_attn`` is set.

        Args:
            inputs: images ``(B, 3, H, W)``, normalised, and mixed where the data preprocessor mixes them.
            data_samples: B samples with ``gt_label`` or ``gt_score``.
        """
        if self.loss_attn is None:
            feats, losses = self.extract_feat(inputs), {}
        else:
            feats, terms = self.backbone(inputs, self.loss_attn.layer_term)
            if self.with_neck:
                feats = self.neck(feats)
            losses = self.loss_attn.losses(terms)
        of_head = self.head.loss(feats, data_samples)
        return {('loss_cls' if name == 'loss' else name): value for name, value in of_head.items()} | losses
