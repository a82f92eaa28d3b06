"""RVT, robust vision transformer (Mao et al., CVPR 2022, arXiv:2105.07926), with or without TAP in its blocks.

Written from the papers and from measured facts about the released networks; no released code is used.
"""

# B batch, N = Hp * Wp tokens, C channels, H heads, L attention layers

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmrobust.models.backbones.base import (
    AttentionBackbone,
    build_tap,
    check_choice,
    check_out_indices,
    check_size,
    find_arch,
    is_released,
    stages_of,
    to_map,
    to_tokens,
)
from mmrobust.models.backbones.released_weights import convert_rvt_backbone, keep_dense
from mmrobust.models.layers import (
    ConvFFN,
    LinearFFN,
    Observe,
    PooledStem,
    PositionAwareScaling,
    SelfAttention,
    TokenPool,
    pool_tokens,
)
from mmrobust.registry import MODELS

PATCH_SIZE = 16
MLP_RATIO = 4

# embed_dims, depth, num_heads: of all blocks, or of each stage; the token grid is halved between two stages.
# scaled_blocks: the first so many blocks, all of the first stage at most, have position-aware attention scaling.
ARCHS: dict[str, dict[str, Any]] = {
    'tiny': dict(embed_dims=(192, 384), depth=(10, 2), num_heads=(6, 12), scaled_blocks=0),
    'small': dict(embed_dims=384, depth=12, num_heads=6, scaled_blocks=0),
    'base': dict(embed_dims=768, depth=12, num_heads=12, scaled_blocks=0),
    'tiny_plus': dict(embed_dims=(192, 384), depth=(10, 2), num_heads=(6, 12), scaled_blocks=10),
    'small_plus': dict(embed_dims=384, depth=12, num_heads=6, scaled_blocks=5),
    'base_plus': dict(embed_dims=768, depth=12, num_heads=12, scaled_blocks=5),
}
OUT_TYPES = ('featmap', 'avg_featmap')
FFN_TYPES = ('conv', 'linear')


class RVTBlock(nn.Module):
    """TAP, self-attention, feed-forward layer; the latter two in a residual branch.

    TAP sits before the first norm, so query, key and value all see pooled tokens while the shortcut does not
    (paper, Fig. 2).

    Args:
        embed_dims: channels C.
        num_heads: heads H.
        tap_cfg: the layer in front of self-attention, or None.
        ffn_type: ``'conv'`` or ``'linear'``.
        norm_cfg: norms inside the convolutional feed-forward layer.
        scaled_hw_shape: token grid of the weights of position-aware attention scaling; None for no scaling.
        drop_rate: dropout of the attention's output and of the feed-forward layer, in [0, 1].
        attn_drop_rate: dropout of attention probabilities, in [0, 1].
        drop_path_rate: stochastic depth of both branches, in [0, 1].
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        *,
        tap_cfg: dict | None,
        ffn_type: str,
        norm_cfg: dict,
        scaled_hw_shape: tuple[int, int] | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.tap = build_tap(tap_cfg, embed_dims)
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.position_scaling = None
        if scaled_hw_shape is not None:
            self.position_scaling = PositionAwareScaling(num_heads, scaled_hw_shape)
        self.attn = SelfAttention(embed_dims, num_heads, attn_drop_rate=attn_drop_rate, proj_drop_rate=drop_rate)
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        hidden_dims = MLP_RATIO * embed_dims
        self.mlp = (
            ConvFFN(embed_dims, hidden_dims, norm_cfg, drop_rate)
            if ffn_type == 'conv'
            else LinearFFN(embed_dims, hidden_dims, drop_rate)
        )
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, hw_shape: tuple[int, int], *, observe: Observe | None = None) -> tuple[Tensor, Any]:
        """``(B, N, C)`` to the same shape, and what ``observe`` made of the attention."""
        pooled, tap_weights = pool_tokens(self.tap, x, hw_shape)
        gate = None if self.position_scaling is None else self.position_scaling(hw_shape)
        shown = dict(observe=observe, tap_weights=tap_weights, tokens=x)
        attended, aux = self.attn(self.norm1(pooled), hw_shape, gate=gate, **shown)
        x = x + self.drop_path(attended)
        x = x + self.drop_path(self.mlp(self.norm2(x), hw_shape))
        return x, aux


@MODELS.register_module()
class RVT(AttentionBackbone):
    """Robust vision transformer for classification and for dense prediction; ``*_plus`` is the RVT* of its paper.

    The patch-wise augmentation with which RVT* trains is part of the classifier: ``patch_augment`` of
    ``mmrobust.RobustImageClassifier``.

    There is neither a class token nor a position embedding.

    With ``out_type='featmap'`` the result is the tokens after the blocks that ``out_indices`` names, as maps without a
    final norm. All are at stride 16, but for ``tiny``, whose last two blocks are at stride 32. What follows the last
    block named gets no gradient, unless its attention is observed.

    With ``out_type='avg_featmap'`` the result is ``(mean,)``, ``(B, C)``: the mean of the last block's tokens, normed,
    as ``mmpretrain.LinearClsHead`` expects. The name is that of mmpretrain's vision transformers.

    Sizes of the published networks disagree. The paper's 91.8 million parameters of RVT-B, and 92.1 with TAP, are those
    of a linear feed-forward layer and of scaling in all 12 blocks: ``ffn_type='linear'`` and ``scaled_blocks=12`` in
    ``arch``. The released code builds scaling in 5 blocks; RVT-B has a linear feed-forward layer there (88.5 million),
    and RVT-B with TAP a convolutional one (89.4 million).

    A scaled block cannot use the fused attention kernels (see :class:`~mmrobust.models.layers.SelfAttention`) and keeps
    three maps for the backward pass: 5 MB at 224 x 224 and 2.4 GB at 1024 x 1024, for each of RVT-B's five and one
    image in float32. ``with_cp=True`` keeps those of one block at a time.

    Args:
        arch: a name of ``ARCHS``, or a dict with ``embed_dims``, ``depth`` and ``num_heads``, each one value or one per
            stage, and, for attention scaling, ``scaled_blocks``.
        tap_cfg: None for the baseline; ``dict(num_branches=4)`` for TAP; with a ``type``, one of its rivals of Table 1
            (see :class:`~mmrobust.models.backbones.FAN`).
        out_type: ``'featmap'`` or ``'avg_featmap'``.
        out_indices: blocks whose tokens are feature maps, counted over all stages from 0, in ascending order. All
            published networks have 12 blocks.
        ffn_type: ``'conv'``, or ``'linear'`` as in the released RVT-B without TAP.
        norm_cfg: norms inside the convolutional feed-forward layers.
        img_size: side in pixels of the images that the weights of attention scaling are for, or (height, width);
            only ``*_plus`` depends on it. Images of other sizes are taken too, see
            :class:`~mmrobust.models.layers.PositionAwareScaling`.
        drop_rate: dropout, in [0, 1].
        attn_drop_rate: dropout of attention probabilities, in [0, 1].
        drop_path_rate: stochastic depth, in [0, 1]: ``drop_path_rate * i / L`` in block i = 0 to L - 1, as in the
            released code.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, k the first k blocks too.
        norm_eval: keep batch norms in evaluation mode while training.
        with_cp: recompute the blocks' activations in the backward pass instead of keeping them.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` takes checkpoints of this project and released RVT ones.

    Raises:
        ValueError: if ``arch``, ``out_type``, ``out_indices``, ``ffn_type``, ``img_size``, ``frozen_stages`` or an
            image's size is not allowed.
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = 'base_plus',
        tap_cfg: dict | None = None,
        out_type: str = 'featmap',
        out_indices: Sequence[int] = (2, 5, 8, 11),
        ffn_type: str = 'conv',
        norm_cfg: dict | None = None,
        img_size: int | tuple[int, int] = 224,
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
        check_choice('ffn_type', ffn_type, FFN_TYPES)
        dims, depths, heads = stages_of(arch)
        num_blocks = sum(depths)
        if out_type == 'featmap':
            check_out_indices(out_indices, num_blocks, network=' for this arch')
        scaled_blocks = arch.get('scaled_blocks', 0)
        if not 0 <= scaled_blocks <= depths[0]:
            raise ValueError(f'scaled_blocks must be 0 to {depths[0]} for this arch, got {scaled_blocks}')
        self.check_frozen_stages(num_blocks)
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        if height % PATCH_SIZE or width % PATCH_SIZE:
            raise ValueError(f'img_size must be a multiple of {PATCH_SIZE}, got {img_size}')
        self.out_type = out_type
        self.out_indices = tuple(out_indices)
        self.embed_dims = dims[-1]

        self.patch_embed = PooledStem(dims[0])
        stages = [stage for stage, depth in enumerate(depths) for _ in range(depth)]
        self.blocks = nn.ModuleList(
            RVTBlock(
                dims[stage],
                heads[stage],
                tap_cfg=tap_cfg,
                ffn_type=ffn_type,
                norm_cfg=norm_cfg or dict(type='BN'),
                scaled_hw_shape=(height // PATCH_SIZE, width // PATCH_SIZE) if index < scaled_blocks else None,
                drop_rate=drop_rate,
                attn_drop_rate=attn_drop_rate,
                drop_path_rate=drop_path_rate * index / num_blocks,
            )
            for index, stage in enumerate(stages)
        )
        self.pools = nn.ModuleList(itertools.starmap(TokenPool, itertools.pairwise(dims)))
        # index of the block that follows a pool -> the pool
        self.pool_before = {stages.index(stage): stage - 1 for stage in range(1, len(dims))}
        if out_type == 'avg_featmap':
            self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.train()  # freezes, before anyone wraps the model for distributed training

    def forward(
        self, images: Tensor, observe: Observe | None = None
    ) -> tuple[Tensor, ...] | tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """Images ``(B, 3, H, W)``, sides multiples of 16, to ``outs`` or ``(outs, aux)`` (see the base class)."""
        check_size(images.shape[-2:], (PATCH_SIZE, PATCH_SIZE), self.out_type == 'featmap')
        x, hw_shape = to_tokens(self.patch_embed(images))
        maps, aux = [], []
        for index, block in enumerate(self.blocks):
            if index in self.pool_before:
                x, hw_shape = self.pools[self.pool_before[index]](x, hw_shape)
            x, observed = self.run_block(block, x, hw_shape, observe=observe)
            aux.append(observed)
            if index in self.out_indices:
                maps.append(to_map(x, hw_shape))
        outs = (self.norm(x.mean(1)),) if self.out_type == 'avg_featmap' else tuple(maps)
        return outs if observe is None else (outs, tuple(aux))

    def stages_to_freeze(self) -> list[nn.Module]:
        pools = [self.pools[pool] for index, pool in self.pool_before.items() if index < self.frozen_stages]
        return [self.patch_embed, *pools, *self.blocks[: self.frozen_stages]]

    def adapt_state_dict(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Takes this project's layout and the released ones, of a classifier also for dense prediction."""
        dense = self.out_type == 'featmap'
        if is_released(state_dict, 'RVT'):
            return convert_rvt_backbone(state_dict, dense)
        adapted = super().adapt_state_dict(state_dict)
        return keep_dense(adapted) if dense else adapted
