"""The SegFormer head of the released FAN segmentors."""

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from mmrobust.registry import MODELS


@MODELS.register_module()
class FANSegformerHead(BaseDecodeHead):
    """All-MLP head (Xie et al., NeurIPS 2021) in the form that FAN's released segmentation weights have.

    Each level is projected to ``channels`` by a linear layer, resized to the first level, concatenated from the last
    level to the first, fused and classified. ``mmseg.SegformerHead`` also normalises each level and concatenates from
    first to last: it trains as well, but cannot hold those weights.

    Args:
        interpolate_mode: how levels are resized.
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

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Feature maps, finest first, to logits ``(B, num_classes, H, W)`` at the finest map's size."""
        maps = self._transform_inputs(inputs)
        size = maps[0].shape[2:]
        levels = []
        for level, features in enumerate(maps, start=1):
            linear = getattr(self, f'linear_c{level}')
            projected = linear(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            if projected.shape[2:] != size:
                projected = nn.functional.interpolate(
                    projected, size=size, mode=self.interpolate_mode, align_corners=self.align_corners
                )
            levels.append(projected)
        return self.cls_seg(self.linear_fuse(torch.cat(levels[::-1], dim=1)))
