"""Bricks: one idea per file."""

from mmrobust.models.layers.attention import AttentionView, Observe, SelfAttention
from mmrobust.models.layers.channel_attention import ChannelAttention
from mmrobust.models.layers.class_attention import ClassAttentionBlock, PatchTokenPath
from mmrobust.models.layers.fixed_pooling import TokenAvgPool, TokenConv
from mmrobust.models.layers.patch_embed import ConvNeXtStem, ConvStem, TokenDownsample
from mmrobust.models.layers.position_embed import FourierPositionEmbed
from mmrobust.models.layers.tap import MultiKernelTokenAwareAvgPool, TokenAwareAvgPool

__all__ = [
    'AttentionView',
    'ChannelAttention',
    'ClassAttentionBlock',
    'ConvNeXtStem',
    'ConvStem',
    'FourierPositionEmbed',
    'MultiKernelTokenAwareAvgPool',
    'Observe',
    'PatchTokenPath',
    'SelfAttention',
    'TokenAvgPool',
    'TokenAwareAvgPool',
    'TokenConv',
    'TokenDownsample',
]
