"""The SegFormer head of the released FAN segmentors."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from torch import Tensor, nn

from mmrobust.models.backbones.released_weights import convert_fan_head
from mmrobust.registry import MODELS


@MODELS.register_module()
class FANSegformerHead(BaseDecodeHead):
    """All-MLP head (Xie et al., NeurIPS 2021) in the form that FAN's released segmentation weights have.

    Each level is projected to ``channels`` by a linear layer, resized to the first level, concatenated from the last
    level to the first, fused by a 1 x 1 convolution, normalised and classified. ``mmseg.SegformerHead`` also normalises
    each level and concatenates from first to last: it trains as well, but cannot hold those weights.

    Nothing non-linear lies between projection and fusion, and both leave resizing as it is. So they are computed as one
    matrix per level, at the level's own size, and the levels are added up instead of concatenated: the same values and
    gradients to rounding, from a tenth of the operations and without the map of ``4 * channels``.

    Args:
        interpolate_mode: how levels are resized, 'bilinear' or 'bicubic'.
        **kwargs: arguments of ``mmseg``'s ``BaseDecodeHead``.
    """

    def __init__(self, interpolate_mode: str = 'bilinear', **kwargs) -> None:
        super().__init__(input_transform='multiple_select', **kwargs)
        self.interpolate_mode = interpolate_mode
        for level, in_channels in enumerate(self.in_channels, start=1):
            self.add_module(f'linear_c{level}', nn.Linear(in_channels, self.channels))
        self.linear_fuse = ConvModule(
            len(self.in_channels) * self.channels,
            self.channels,
            kernel_size=1,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )

    def adapt_state_dict(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This head's weights in those of a released segmentor, in this project's layout."""
        return convert_fan_head(state_dict)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Feature maps, finest first, to logits ``(B, num_classes, H, W)`` at the finest map's size."""
        maps = self._transform_inputs(inputs)
        conv = self.linear_fuse.conv
        sums: dict[torch.Size, Tensor] = {}
        bias = 0 if conv.bias is None else conv.bias
        for level, fuse in enumerate(reversed(conv.weight.flatten(1).chunk(len(maps), dim=1))):
            linear = getattr(self, f'linear_c{level + 1}')
            bias = bias + fuse @ linear.bias
            part = F.linear(maps[level].permute(0, 2, 3, 1), fuse @ linear.weight)
            size = part.shape[1:3]
            sums[size] = sums[size] + part if size in sums else part
        fused = bias + sums.pop(maps[0].shape[2:])
        for part in sums.values():
            if fused.is_cuda and self.interpolate_mode == 'bilinear':
                fused = add_resized(fused, part, self.align_corners)
                continue
            resized = F.interpolate(
                part.permute(0, 3, 1, 2),
                size=fused.shape[1:3],
                mode=self.interpolate_mode,
                align_corners=self.align_corners,
            )
            fused = fused + resized.permute(0, 2, 3, 1)
        fused = fused.permute(0, 3, 1, 2)
        if self.linear_fuse.with_norm:
            fused = self.linear_fuse.norm(fused)
        return self.cls_seg(self.linear_fuse.activate(fused))

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list) -> dict[str, Tensor]:
        """Losses, and ``acc_seg``, the percentage of labelled pixels that are right.

        As in MMSegmentation, whose accuracy sorts the classes of every pixel and asks the GPU twice how many pixels are
        labelled: the backward pass could not be launched before the forward pass was over.

        Args:
            seg_logits: ``(B, num_classes, h, w)``, resized to the labels.
            batch_data_samples: B samples with ``gt_sem_seg``, ``(1, H, W)``.
        """
        labels = self._stack_batch_gt(batch_data_samples)
        logits = resize(seg_logits, size=labels.shape[2:], mode='bilinear', align_corners=self.align_corners)
        weight = None if self.sampler is None else self.sampler.sample(logits, labels)
        labels = labels.squeeze(1)
        losses: dict[str, Tensor] = {}
        for term in self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else (self.loss_decode,):
            value = term(logits, labels, weight=weight, ignore_index=self.ignore_index)
            name = term.loss_name
            losses[name] = losses[name] + value if name in losses else value
        labelled = labels != self.ignore_index
        right = (logits.detach().argmax(1) == labels) & labelled
        losses['acc_seg'] = 100 * right.sum() / labelled.sum().clamp(min=1)
        return losses


def add_resized(total: Tensor, part: Tensor, align_corners: bool) -> Tensor:
    """``total`` ``(B, H, W, C)`` plus ``part`` ``(B, h, w, C)`` resized to it, bilinearly.

    By two matrix products, one for each axis. On a GPU the backward pass of ``F.interpolate`` is slow with channels
    last, and compiled it adds atomically: 41 ms of a step of 224 ms with 8 crops on an H100.
    """
    batch, height, width, channels = total.shape
    rows, columns = (
        _interpolation(old, new, align_corners, part) for old, new in zip(part.shape[1:3], (height, width), strict=True)
    )
    wide = torch.bmm(columns.expand(batch * part.size(1), -1, -1), part.flatten(0, 1))
    wide = wide.view(batch, part.size(1), width * channels)
    return torch.baddbmm(total.flatten(2), rows.expand(batch, -1, -1), wide).view(total.shape)


def _interpolation(old: int, new: int, align_corners: bool, like: Tensor) -> Tensor:
    """Interpolation weights of ``new`` places from ``old`` ones: ``(new, old)``."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    places = torch.eye(old, dtype=dtype, device=like.device).unsqueeze(0)
    return F.interpolate(places, size=new, mode='linear', align_corners=align_corners)[0].t().to(like.dtype)
