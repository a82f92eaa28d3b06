"""Swin Transformer (Liu et al., ICCV 2021, arXiv:2103.14030) and FAN-Swin, with or without TAP in their blocks.

Written from the papers and from measured facts about the released networks; no released code is used.
"""

# B batch, N = Hp * Wp tokens, C channels, H heads, L attention layers

import itertools
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
    find_arch,
    init_linear,
    is_released,
    to_map,
)
from mmrobust.models.backbones.released_weights import convert_swin_backbone
from mmrobust.models.layers import (
    ChannelAttention,
    LinearFFN,
    Observe,
    PaddedPatchEmbed,
    PatchMerging,
    WindowAttention,
    pool_tokens,
)
from mmrobust.registry import MODELS

MLP_RATIO = 4

# embed_dims: channels of the first stage, each further one has twice as many. depth, num_heads: of each stage.
ARCHS: dict[str, dict[str, Any]] = {
    'tiny': dict(embed_dims=96, depth=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window_size=7),
    'small': dict(embed_dims=96, depth=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), window_size=7),
    'base': dict(embed_dims=128, depth=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), window_size=7),
}
OUT_TYPES = ('featmap', 'avg_featmap')


class SwinBlock(nn.Module):
    """TAP, self-attention in windows, feed-forward layer; the latter two in a residual branch.

    TAP sits before the first norm and sees the whole token grid, before it is cut into windows. So windows exchange
    tokens there, and query, key and value all see pooled tokens while the shortcut does not (paper, Fig. 2).

    Args:
        embed_dims: channels C.
        num_heads: heads H.
        window_size: side of a window in tokens.
        shifted: whether the windows are shifted by half their side.
        tap_cfg: the layer in front of self-attention, or None.
        channel_norm_cfg: norm inside FAN's channel attention, or None for a plain feed-forward layer.
        drop_rate: dropout of the attention's output and of the feed-forward layer, in [0, 1].
        attn_drop_rate: dropout of attention probabilities, in [0, 1].
        drop_path_rate: stochastic depth of both branches, in [0, 1].
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        *,
        window_size: int,
        shifted: bool,
        tap_cfg: dict | None,
        channel_norm_cfg: dict | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.tap = build_tap(tap_cfg, embed_dims)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.attn = WindowAttention(
            embed_dims, num_heads, window_size, shifted, attn_drop_rate=attn_drop_rate, proj_drop_rate=drop_rate
        )
        self.norm2 = nn.LayerNorm(embed_dims)
        self.mlp = (
            LinearFFN(embed_dims, MLP_RATIO * embed_dims, drop_rate)
            if channel_norm_cfg is None
            else ChannelAttention(embed_dims, num_heads, MLP_RATIO, channel_norm_cfg, drop_rate, conv_residual=False)
        )
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, hw_shape: tuple[int, int], *, observe: Observe | None = None) -> tuple[Tensor, Any]:
        """``(B, N, C)`` to the same shape, and what ``observe`` made of the attention."""
        pooled, tap_weights = pool_tokens(self.tap, x, hw_shape)
        shown = dict(observe=observe, tap_weights=tap_weights, tokens=x)
        attended, aux = self.attn(self.norm1(pooled), hw_shape, **shown)
        x = x + self.drop_path(attended)
        x = x + self.drop_path(self.mlp(self.norm2(x), hw_shape))
        return x, aux


@MODELS.register_module()
class Swin(AttentionBackbone):
    """Swin Transformer for dense prediction and for classification, and FAN-Swin.

    Images of any size are taken: patches, windows and odd token grids are padded with zeros, as in MMSegmentation.
    Along an axis with one window nothing is shifted, as in classification; MMSegmentation shifts there too, and cuts
    the window apart.

    With ``out_type='featmap'`` the result is the normed tokens of the stages that ``out_indices`` names, as maps at
    strides 4, 8, 16 and 32.

    With ``out_type='avg_featmap'`` the result is ``(mean,)``, ``(B, C)``: the mean of the last stage's normed tokens,
    as ``mmpretrain.LinearClsHead`` expects. The name is that of mmpretrain's vision transformers.

    ADL takes every window as an attention map of its own, and the parts of a window that a mask separates too (see
    :class:`~mmrobust.models.layers.WindowAttention`). Its threshold is ``tau`` over the number of keys there, its value
    the mean over all tokens of all images. The papers say nothing about windows.

    Args:
        arch: a name of ``ARCHS``, or a dict with ``embed_dims`` (channels of the first stage), ``depth`` and
            ``num_heads`` (one value per stage) and ``window_size`` (tokens).
        tap_cfg: None for the baseline; ``dict(num_branches=4)`` for TAP; with a ``type``, one of its rivals of Table 1
            (see :class:`~mmrobust.models.backbones.FAN`).
        out_type: ``'featmap'`` or ``'avg_featmap'``.
        out_indices: with ``'featmap'``, which of the stages to return, from 0, in ascending order.
        channel_attention: FAN-Swin (Zhou et al., ICML 2022, arXiv:2204.12451): FAN's channel attention as feed-forward
            layer of all stages but the last. Parameters and multiplications are those of the released FAN-Swin. The
            released "FAN-Swin with TAP" ignores the number of branches and has no TAP; with ``tap_cfg`` it is here.
        norm_cfg: norm inside the channel attention.
        drop_rate: dropout, in [0, 1].
        attn_drop_rate: dropout of attention probabilities, in [0, 1].
        drop_path_rate: stochastic depth, in [0, 1]: from 0 in the first block to this value in the last one.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, k the first k blocks, counted over all stages, too.
        norm_eval: keep batch norms in evaluation mode while training.
        with_cp: recompute the blocks' activations in the backward pass instead of keeping them.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` takes checkpoints of this project and released Swin
            classifiers, those of timm included. The output norms of the first stages, which a classifier does not have,
            then start as fresh ones.

    Raises:
        ValueError: if ``arch``, ``out_type``, ``out_indices`` or ``frozen_stages`` is not allowed.
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = 'base',
        tap_cfg: dict | None = None,
        out_type: str = 'featmap',
        out_indices: Sequence[int] = (0, 1, 2, 3),
        channel_attention: bool = False,
        norm_cfg: dict | None = None,
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
        depths, heads = arch['depth'], arch['num_heads']
        last_stage, num_blocks = len(depths) - 1, sum(depths)
        if out_type == 'featmap':
            check_out_indices(out_indices, len(depths))
        self.check_frozen_stages(num_blocks)
        dims = [arch['embed_dims'] * 2**stage for stage in range(len(depths))]
        self.out_type = out_type
        self.depths = tuple(depths)
        self.embed_dims = dims[-1]

        self.patch_embed = PaddedPatchEmbed(dims[0])
        drop_path_rates = iter(torch.linspace(0, drop_path_rate, num_blocks, device='cpu').tolist())
        channel_norm_cfg = (norm_cfg or dict(type='BN')) if channel_attention else None
        self.blocks = nn.ModuleList(
            SwinBlock(
                dims[stage],
                heads[stage],
                window_size=arch['window_size'],
                shifted=bool(index % 2),
                tap_cfg=tap_cfg,
                channel_norm_cfg=channel_norm_cfg if stage < last_stage else None,
                drop_rate=drop_rate,
                attn_drop_rate=attn_drop_rate,
                drop_path_rate=next(drop_path_rates),
            )
            for stage, depth in enumerate(depths)
            for index in range(depth)
        )
        self.stage_blocks = [
            range(end - depth, end) for depth, end in zip(depths, itertools.accumulate(depths), strict=True)
        ]
        self.mergings = nn.ModuleList(PatchMerging(width) for width in dims[:-1])
        normed_stages = (last_stage,) if out_type == 'avg_featmap' else out_indices
        self.norms = nn.ModuleDict({str(stage): nn.LayerNorm(dims[stage]) for stage in normed_stages})
        self.apply(init_linear)
        self.train()  # freezes, before anyone wraps the model for distributed training

    def forward(
        self, images: Tensor, observe: Observe | None = None
    ) -> tuple[Tensor, ...] | tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """Images ``(B, 3, H, W)`` of any size to ``outs`` or ``(outs, aux)`` (see the base class)."""
        x, hw_shape = self.patch_embed(images)
        maps, aux = [], []
        for stage, indices in enumerate(self.stage_blocks):
            if stage:
                x, hw_shape = self.mergings[stage - 1](x, hw_shape)
            for index in indices:
                x, observed = self.run_block(self.blocks[index], x, hw_shape, observe=observe)
                aux.append(observed)
            if str(stage) in self.norms:
                maps.append(to_map(self.norms[str(stage)](x), hw_shape))
        outs = tuple(maps) if self.out_type == 'featmap' else (maps[-1].mean((2, 3)),)
        return outs if observe is None else (outs, tuple(aux))

    def stages_to_freeze(self) -> list[nn.Module]:
        first_blocks = [indices[0] for indices in self.stage_blocks[1:]]
        mergings = [
            merging
            for merging, first_block in zip(self.mergings, first_blocks, strict=True)
            if first_block < self.frozen_stages
        ]
        return [self.patch_embed, *mergings, *self.blocks[: self.frozen_stages]]

    def adapt_state_dict(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Takes this project's layout and the released one, of a classifier also for dense prediction."""
        adapted = (
            convert_swin_backbone(state_dict, self.depths)
            if is_released(state_dict, 'Swin')
            else super().adapt_state_dict(state_dict)
        )
        own_norms = {key: value for key, value in self.state_dict().items() if key.startswith('norms.')}
        last_norm = f'norms.{len(self.depths) - 1}.'
        fitting = {key: value for key, value in adapted.items() if key in own_norms or not key.startswith('norms.')}
        if all(key.startswith(last_norm) for key in adapted if key.startswith('norms.')):  # a classifier
            fitting |= {key: value for key, value in own_norms.items() if not key.startswith(last_norm)}
        return fitting
