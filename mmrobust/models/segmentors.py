"""EncoderDecoder with a loss on attention."""

from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

from mmrobust.models.losses import build_attention_loss
from mmrobust.registry import MODELS


@MODELS.register_module()
class RobustEncoderDecoder(EncoderDecoder):
    """MMSegmentation's ``EncoderDecoder`` that can train with a loss on the backbone's attention.

    Prediction, testing and everything else are the parent's, but for the padding of sliding windows:
    ``data_preprocessor.test_cfg`` with ``size_divisor`` pads only sides that are smaller than the window there. Windows
    end with the image, so that a larger side needs none, and its last window would hold padding instead of image.

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

    def predict(self, inputs: Tensor, data_samples: list | None = None) -> list:
        """Segment images.

        Args:
            inputs: images ``(B, 3, H, W)``, normalised and padded.
            data_samples: B samples, or None.

        Returns:
            B samples with ``pred_sem_seg`` and ``seg_logits``, as the parent's; without samples, the parent's tensor.
        """
        if data_samples and self.test_cfg.get('mode') == 'slide':
            inputs = self._cut_padding(inputs, data_samples)
        return super().predict(inputs, data_samples)

    def _cut_padding(self, inputs: Tensor, data_samples: list) -> Tensor:
        """The images without the padding of sides that are no smaller than the window; the images are of one size."""
        left, right, top, bottom = data_samples[0].metainfo.get('img_padding_size', (0, 0, 0, 0))
        (height, width), (window_height, window_width) = inputs.shape[2:], self.test_cfg.crop_size
        if height - bottom >= window_height:
            height, bottom = height - bottom, 0
        if width - right >= window_width:
            width, right = width - right, 0
        for sample in data_samples:
            sample.set_metainfo(dict(img_padding_size=(left, right, top, bottom), pad_shape=(height, width)))
        return inputs[..., :height, :width]
