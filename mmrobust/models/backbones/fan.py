"""FAN, fully attentional network (Zhou et al., ICML 2022, arXiv:2204.12451), with or without TAP in its blocks.

Written from the papers and from measured facts about the released networks; no released code is used.
"""

# B batch, N = Hp * Wp tokens, C channels, H heads, L attention layers

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmrobust.models.backbones.base import (
    AttentionBackbone,
    build_tap,
    check_choice,
    check_out_indices,
    check_size,
    find_arch,
    init_linear,
    is_released,
    stages_of,
    to_map,
    to_tokens,
)
from mmrobust.models.backbones.released_weights import convert_fan_backbone, keep_patch_path
from mmrobust.models.layers import (
    ChannelAttention,
    ClassAttentionBlock,
    ConvNeXtStem,
    ConvStem,
    FourierPositionEmbed,
    Observe,
    PatchTokenPath,
    SelfAttention,
    TokenDownsample,
    pool_tokens,
)
from mmrobust.registry import MODELS

PATCH_SIZE = 16
MLP_RATIO = 4
NUM_CLASS_BLOCKS = 2

# embed_dims, depth, num_heads: of all blocks, or (before, after) a halving of the token grid.
# stem_depths: blocks of the two ConvNeXt stages of a Hybrid; a ViT has none. stem_channels: their channels.
# feature_blocks: the blocks whose tokens are feature maps; the last map always follows the class-attention blocks.
ARCHS: dict[str, dict[str, Any]] = {
    'tiny_vit': dict(embed_dims=192, depth=12, num_heads=4, feature_blocks=(4, 7, 11)),
    'small_vit': dict(embed_dims=384, depth=12, num_heads=8, feature_blocks=(4, 7, 11)),
    'base_vit': dict(embed_dims=448, depth=18, num_heads=8, feature_blocks=(5, 11, 17)),
    'large_vit': dict(embed_dims=480, depth=24, num_heads=10, feature_blocks=(7, 15, 23)),
    'tiny_hybrid': dict(embed_dims=192, depth=8, num_heads=8, stem_depths=(3, 3), feature_blocks=(7,)),
    'small_hybrid': dict(embed_dims=384, depth=10, num_heads=8, stem_depths=(3, 3), feature_blocks=(9,)),
    'base_hybrid': dict(embed_dims=448, depth=16, num_heads=8, stem_depths=(3, 3), feature_blocks=(15,)),
    'large_hybrid': dict(embed_dims=480, depth=22, num_heads=10, stem_depths=(3, 5), feature_blocks=(18,)),
    'xlarge_hybrid': dict(
        embed_dims=(528, 768), depth=(20, 3), num_heads=(11, 16), stem_depths=(3, 7), feature_blocks=(19,)
    ),
}
OUT_TYPES = ('featmap', 'cls_token')


class FANBlock(nn.Module):
    """TAP, self-attention, channel attention; each of the two attentions in a residual branch with layer scale.

    TAP sits before the first norm, so query, key and value all see pooled tokens while the shortcut does not
    (paper, Fig. 2).

    Args:
        embed_dims: channels C.
        num_heads: heads H of both attentions.
        tap_cfg: the layer in front of self-attention, or None.
        norm_cfg: norm inside the feed-forward layer.
        drop_rate: dropout of the projections, in [0, 1].
        attn_drop_rate: dropout of attention probabilities, in [0, 1].
        drop_path_rate: stochastic depth of both branches, in [0, 1].
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        *,
        tap_cfg: dict | None,
        norm_cfg: dict,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.tap = build_tap(tap_cfg, embed_dims)
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.attn = SelfAttention(embed_dims, num_heads, attn_drop_rate=attn_drop_rate, proj_drop_rate=drop_rate)
        self.gamma1 = nn.Parameter(torch.ones(embed_dims))
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mlp = ChannelAttention(embed_dims, num_heads, MLP_RATIO, norm_cfg, drop_rate)
        self.gamma2 = nn.Parameter(torch.ones(embed_dims))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, hw_shape: tuple[int, int], *, observe: Observe | None = None) -> tuple[Tensor, Any]:
        """``(B, N, C)`` to the same shape, and what ``observe`` made of the attention."""
        pooled, tap_weights = pool_tokens(self.tap, x, hw_shape)
        shown = dict(observe=observe, tap_weights=tap_weights, tokens=x)
        attended, aux = self.attn(self.norm1(pooled), hw_shape, **shown)
        x = x + self.drop_path(self.gamma1 * attended)
        x = x + self.drop_path(self.gamma2 * self.mlp(self.norm2(x), hw_shape))
        return x, aux


@MODELS.register_module()
class FAN(AttentionBackbone):
    """Fully attentional network, ViT and Hybrid, for dense prediction and for classification.

    With ``out_type='featmap'`` the four stages, chosen by ``out_indices``, are

    - Hybrid: the two stages of the ConvNeXt stem (strides 4 and 8, 128 and 256 channels), the tokens after the last
      block (after block 19 of 22 in ``large``, as released) and the tokens after the class-attention blocks, both at
      stride 16 (``xlarge`` ends at stride 32);
    - ViT: the tokens after three blocks, and after the class-attention blocks, all at stride 16.

    Class-attention blocks do not mix patch tokens, so the last map carries what the third does, scaled and normed. Only
    the part of them that patch tokens pass is built here, so with all four stages every parameter has a gradient; the
    released segmentation code computes and drops the rest.

    With ``out_type='cls_token'`` the result is ``(cls_token,)``, ``(B, C)`` after the final norm, as
    ``mmpretrain.LinearClsHead`` expects. The released ``large_hybrid`` starts with a head 1000 times smaller than the
    others: ``head=dict(init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5))``.

    Args:
        arch: a name of ``ARCHS``, or a dict with ``embed_dims``, ``depth``, ``num_heads``, ``feature_blocks`` and, for
            a Hybrid, ``stem_depths`` and, if they are not 128 and 256, ``stem_channels``.
        tap_cfg: None for the baseline; ``dict(num_branches=4)`` for TAP; with a ``type``, one of its rivals of Table 1
            (``mmrobust.TokenAvgPool``, ``mmrobust.TokenConv``, ``mmrobust.MultiKernelTokenAwareAvgPool``).
        out_type: ``'featmap'`` or ``'cls_token'``.
        out_indices: which of the four stages to return, 0 to 3 in ascending order.
        norm_cfg: norm inside the blocks' feed-forward layers.
        paired_frequencies: see :class:`~mmrobust.models.layers.FourierPositionEmbed`; False for the released
            segmentation weights.
        drop_rate: dropout, in [0, 1].
        attn_drop_rate: dropout of attention probabilities, in [0, 1].
        drop_path_rate: stochastic depth, in [0, 1], the same for all blocks as in the released code.
        frozen_stages: -1 freezes nothing, 0 the patch and position embeddings, k the first k blocks too.
        norm_eval: keep batch norms in evaluation mode while training.
        with_cp: recompute the blocks' activations in the backward pass instead of keeping them.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` takes checkpoints of this project and released FAN ones.

    Raises:
        ValueError: if ``arch``, ``out_type``, ``out_indices``, ``frozen_stages`` or an image's size is not allowed.
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = 'base_hybrid',
        tap_cfg: dict | None = None,
        out_type: str = 'featmap',
        out_indices: Sequence[int] = (0, 1, 2, 3),
        norm_cfg: dict | None = None,
        paired_frequencies: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(frozen_stages, norm_eval, with_cp, init_cfg)
        arch = find_arch(arch, ARCHS)
        check_choice('out_type', out_type, OUT_TYPES)
        check_out_indices(out_indices, 4)
        norm_cfg = norm_cfg or dict(type='BN')
        dims, depths, heads = stages_of(arch)
        self.check_frozen_stages(sum(depths))
        self.out_type = out_type
        self.out_indices = tuple(out_indices)
        self.feature_blocks = arch['feature_blocks']
        self.embed_dims = dims[-1]

        stem_depths = arch.get('stem_depths')
        stem_channels = arch.get('stem_channels', (128, 256))
        self.patch_embed = (
            ConvNeXtStem(dims[0], stem_depths, stem_channels, with_cp) if stem_depths else ConvStem(dims[0])
        )
        self.pos_embed = FourierPositionEmbed(dims[0], paired_frequencies)
        self.pos_drop = nn.Dropout(drop_rate)
        self.blocks = nn.ModuleList(
            FANBlock(
                stage_dims,
                stage_heads,
                tap_cfg=tap_cfg,
                norm_cfg=norm_cfg,
                drop_rate=drop_rate,
                attn_drop_rate=attn_drop_rate,
                drop_path_rate=drop_path_rate,
            )
            for stage_dims, depth, stage_heads in zip(dims, depths, heads, strict=True)
            for _ in range(depth)
        )
        self.downsample_before = depths[0]  # no block has this index in a network of one stage
        self.downsample = TokenDownsample(*dims) if len(dims) == 2 else None
        if out_type == 'cls_token':
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dims[-1]))
            self.cls_attn_blocks = nn.ModuleList(
                ClassAttentionBlock(dims[-1], heads[-1], MLP_RATIO) for _ in range(NUM_CLASS_BLOCKS)
            )
            self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        else:
            num_paths = NUM_CLASS_BLOCKS if 3 in self.out_indices else 0
            self.cls_attn_blocks = nn.ModuleList(PatchTokenPath(dims[-1]) for _ in range(num_paths))
        self.apply(init_linear)
        self.train()  # freezes, before anyone wraps the model for distributed training

    def forward(
        self, images: Tensor, observe: Observe | None = None
    ) -> tuple[Tensor, ...] | tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """Images ``(B, 3, H, W)``, sides multiples of 16, to ``outs`` or ``(outs, aux)`` (see the base class)."""
        check_size(images.shape[-2:], (PATCH_SIZE, PATCH_SIZE), self.out_type == 'featmap')
        *maps, grid = _as_maps(self.patch_embed(images))
        x, hw_shape = to_tokens(grid)
        x = self.pos_drop(x + self.pos_embed(hw_shape))
        aux = []
        for index, block in enumerate(self.blocks):
            if index == self.downsample_before:
                x, hw_shape = self.downsample(x, hw_shape)
            x, observed = self.run_block(block, x, hw_shape, observe=observe)
            aux.append(observed)
            if index in self.feature_blocks:
                maps.append(to_map(x, hw_shape))
        outs = self._class_token(x) if self.out_type == 'cls_token' else self._feature_maps(maps, x, hw_shape)
        return outs if observe is None else (outs, tuple(aux))

    def _class_token(self, x: Tensor) -> tuple[Tensor]:
        x = torch.cat((self.cls_token.expand(x.size(0), -1, -1), x), dim=1)
        for block in self.cls_attn_blocks:
            x = block(x)
        return (self.norm(x[:, 0]),)

    def _feature_maps(self, maps: list[Tensor], x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, ...]:
        if 3 in self.out_indices:
            for path in self.cls_attn_blocks:
                x = path(x)
            maps.append(to_map(x, hw_shape))
        return tuple(maps[index] for index in self.out_indices)

    def methods_to_compile(self) -> list[tuple[nn.Module, str]]:
        return super().methods_to_compile() + [(block, 'forward') for block in self.cls_attn_blocks]

    def stages_to_freeze(self) -> list[nn.Module]:
        frozen: list[nn.Module] = [self.patch_embed, self.pos_embed, *self.blocks[: self.frozen_stages]]
        if self.downsample is not None and self.frozen_stages > self.downsample_before:
            frozen.append(self.downsample)
        return frozen

    def adapt_state_dict(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Takes this project's layout and the released ones, of a classifier also for dense prediction."""
        if is_released(state_dict, 'FAN'):
            return convert_fan_backbone(state_dict, dense=self.out_type == 'featmap')
        adapted = super().adapt_state_dict(state_dict)
        return keep_patch_path(adapted) if self.out_type == 'featmap' else adapted


def _as_maps(stem_out: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (stem_out,) if isinstance(stem_out, Tensor) else stem_out
