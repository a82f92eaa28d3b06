"""Layers, one idea per file."""

from mmrobust.models.layers.attention import (
    AttentionView,
    ClassAttentionBlock,
    Observe,
    PatchTokenPath,
    SelfAttention,
    attend,
)
from mmrobust.models.layers.feed_forward import ChannelAttention, ConvFFN, LinearFFN
from mmrobust.models.layers.patch_augmentation import PatchAugmentation
from mmrobust.models.layers.patch_embed import (
    ConvNeXtStem,
    ConvStem,
    PaddedPatchEmbed,
    PatchMerging,
    PooledStem,
    TokenDownsample,
    TokenPool,
)
from mmrobust.models.layers.position import FourierPositionEmbed, PositionAwareScaling
from mmrobust.models.layers.recompute import recompute
from mmrobust.models.layers.tap import (
    MultiKernelTokenAwareAvgPool,
    TokenAvgPool,
    TokenAwareAvgPool,
    TokenConv,
    pool_tokens,
)
from mmrobust.models.layers.token_refinement import TokenRefinement
from mmrobust.models.layers.window_attention import WindowAttention

__all__ = [
    'AttentionView',
    'ChannelAttention',
    'ClassAttentionBlock',
    'ConvFFN',
    'ConvNeXtStem',
    'ConvStem',
    'FourierPositionEmbed',
    'LinearFFN',
    'MultiKernelTokenAwareAvgPool',
    'Observe',
    'PaddedPatchEmbed',
    'PatchAugmentation',
    'PatchMerging',
    'PatchTokenPath',
    'PooledStem',
    'PositionAwareScaling',
    'SelfAttention',
    'TokenAvgPool',
    'TokenAwareAvgPool',
    'TokenConv',
    'TokenDownsample',
    'TokenPool',
    'TokenRefinement',
    'WindowAttention',
    'attend',
    'pool_tokens',
    'recompute',
]
