"""Any VisionTransformer or Eva of timm as a backbone: its attention can be observed, and TAP can sit in its blocks.

Only timm's modules are taken over, under timm's names; its blocks are run here. timm is imported when it is needed.
"""

# B batch, N = P + Hp * Wp tokens, P prefix tokens (class, distillation, registers), C channels, H heads, D = C / H

import copy
import difflib
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrobust.models.backbones.base import (
    AttentionBackbone,
    build_tap,
    check_choice,
    check_out_indices,
    check_size,
    to_map,
)
from mmrobust.models.layers import AttentionView, Observe, attend, pool_tokens, recompute
from mmrobust.ops import Attention
from mmrobust.registry import MODELS

DEIT_ARCHS = ('tiny', 'small', 'base')
OUT_TYPES = ('featmap', 'cls_token', 'cls_dist_tokens')
OBSERVED_TOKENS = ('all', 'patches')

# of DINOv2, of CLIP in OpenAI's and OpenCLIP's code, and of DeiT III
OTHERS_NAMES = r'mask_token$|visual\.(class_embedding|trunk\.)|blocks\.0\.gamma_1$'
# What is run here of a timm block. A part with another name would be skipped in silence, so it is refused.
BLOCK_PARTS = {'norm1', 'attn', 'ls1', 'gamma_1', 'drop_path1', 'norm2', 'mlp', 'ls2', 'gamma_2', 'drop_path2'}
ATTENTION_PARTS = {'qkv', 'q_proj', 'k_proj', 'v_proj', 'q_bias', 'v_bias', 'q_norm', 'k_norm'} | {
    *('attn_drop', 'norm', 'proj', 'proj_drop')
}


class TimmBlock(nn.Module):
    """A timm ``Block`` or ``EvaBlock``, run so that its attention can be observed, with TAP in front of its first norm.

    TAP pools the patch tokens; prefix tokens have no place on the grid and pass unchanged. The shortcut is not pooled.

    Args:
        block: the timm block whose parts are taken over, under the same names.
        tap: the layer in front of self-attention, or None.
        num_prefix_tokens: P, the tokens before the patch tokens.
        num_registers: how many of them, the last ones, are registers.
        hides_prefix: ``observe`` is not shown them.
    """

    def __init__(
        self, block: nn.Module, tap: nn.Module | None, num_prefix_tokens: int, num_registers: int, hides_prefix: bool
    ) -> None:
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        self.num_registers = num_registers
        self.hides_prefix = hides_prefix and num_prefix_tokens > 0
        self.tap = tap
        for name in ('gamma_1', 'gamma_2'):  # the layer scales of an EvaBlock, which has no ls1 and ls2
            self.register_parameter(name, None)
        for name, part in block.named_children():
            self.add_module(name, part)
        for name, parameter in block.named_parameters(recurse=False):
            self.register_parameter(name, parameter)

    def forward(
        self,
        x: Tensor,
        hw_shape: tuple[int, int],
        *,
        observe: Observe | None = None,
        rope: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """``(B, N, C)``, prefix tokens first, to the same shape, and what ``observe`` made of the attention.

        ``rope`` holds sine and cosine of the angles by which queries and keys of the patches are rotated, ``(Hp * Wp, 2
        * D)`` or that for each head.
        """
        pooled, tap_weights = self._pool(x, hw_shape)
        query, key, value = self._project(self.norm1(pooled), rope)
        view = AttentionView(
            Attention(query, key), hw_shape, self.num_prefix_tokens, tap_weights, None, self.num_registers, x
        )
        attended, aux = self._attend(view, value, observe)
        x = x + self.drop_path1(self._scale(attended, 1))
        x = x + self.drop_path2(self._scale(self.mlp(self.norm2(x)), 2))
        return x, aux

    def _scale(self, x: Tensor, number: int) -> Tensor:
        """Layer scale, which is a module in one kind of block, and a parameter or nothing in the other."""
        module, gamma = getattr(self, f'ls{number}', None), getattr(self, f'gamma_{number}')
        return module(x) if module is not None else x if gamma is None else gamma * x

    def _pool(self, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        if self.tap is None:
            return x, None
        prefix, patches = x[:, : self.num_prefix_tokens], x[:, self.num_prefix_tokens :]
        pooled, tap_weights = pool_tokens(self.tap, patches, hw_shape)
        return torch.cat((prefix, pooled), dim=1), tap_weights

    def _project(self, x: Tensor, rope: Tensor | None) -> list[Tensor]:
        """Query, scaled, key and value, ``(B, H, N, D)`` each."""
        attn = self.attn
        if attn.qkv is None:
            parts = attn.q_proj(x), attn.k_proj(x), attn.v_proj(x)
        elif getattr(attn, 'q_bias', None) is None:
            parts = attn.qkv(x).chunk(3, -1)
        else:  # the key has none
            bias = torch.cat((attn.q_bias, torch.zeros_like(attn.q_bias), attn.v_bias))
            parts = F.linear(x, attn.qkv.weight, bias).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (-1, attn.head_dim)).transpose(1, 2) for part in parts)
        query, key = attn.q_norm(query), attn.k_norm(key)
        if rope is not None:
            query, key = (self._rotate(part, rope).type_as(value) for part in (query, key))
        if key.size(1) < attn.num_heads:  # heads in groups share key and value
            key, value = (part.repeat_interleave(attn.num_heads // key.size(1), dim=1) for part in (key, value))
        return [query * attn.scale, key, value]

    def _rotate(self, x: Tensor, rope: Tensor) -> Tensor:
        from timm.layers import apply_rot_embed_cat

        prefix, patches = x[:, :, : self.num_prefix_tokens], x[:, :, self.num_prefix_tokens :]
        return torch.cat((prefix, apply_rot_embed_cat(patches, rope, half=self.attn.rotate_half)), dim=2)

    def _attend(self, view: AttentionView, value: Tensor, observe: Observe | None) -> tuple[Tensor, Any]:
        attn, hidden = self.attn, self.num_prefix_tokens
        dropout = attn.attn_drop.p if self.training else 0.0
        if observe is None or not self.hides_prefix:
            out, aux = attend(view, value, dropout, observe)
        else:  # what is shown is not what the output is made of
            out, _ = attend(view, value, dropout)
            shown = Attention(*(tokens[:, :, hidden:] for tokens in view.attention[:2]))
            tokens = view.tokens[:, hidden:]
            aux = observe(view._replace(attention=shown, num_prefix_tokens=0, num_registers=0, tokens=tokens))
        return attn.proj_drop(attn.proj(attn.norm(out.transpose(1, 2).flatten(2)))), aux


@MODELS.register_module()
class TimmViT(AttentionBackbone):
    """Any ``VisionTransformer`` or ``Eva`` of timm, by name, for dense prediction and for classification.

    DeiT and DeiT III, ViT, DINOv2, CLIP and SigLIP towers, also with registers, with a convolutional stem, or without a
    class token; and of ``Eva`` EVA, EVA-02, DINOv3, Perception Encoder and ViTs with rotary position embedding (RoPE),
    whose attention is that of the rotated queries and keys. Parameters have timm's names, so timm's weights fit; with
    ``tap_cfg`` each block has ``tap`` besides. Without TAP the output is timm's.

    Images of any size whose sides are multiples of the patch size are taken: timm's own function resamples the
    position embedding, and computes the angles of RoPE for the grid.

    - ``out_type='featmap'``: the patch tokens after the blocks ``out_indices``, ``(B, C, Hp, Wp)`` each, as mmseg's
      heads expect. Blocks after the last of them are not built, nor is what only a classifier needs.
    - ``out_type='cls_token'``: ``(token,)``, ``(B, C)``, what timm hands to its classifier; pooled as ``global_pool``
      of the model says, and the mean of the two tokens for a distilled DeiT. For ``mmpretrain.LinearClsHead``.
    - ``out_type='cls_dist_tokens'``: ``((class token, distillation token),)`` of a distilled DeiT, ``(B, C)`` each, as
      ``mmpretrain.DeiTClsHead`` expects.

    The paper applies TAP and ADL to DeiT (Table 5) and does not say which tokens take part; there is no released code
    of it. Here TAP pools patch tokens alone. ``observe``, and so ADL, is shown the attention among all tokens, or with
    ``observed_tokens='patches'`` the attention of patch tokens to each other (a softmax over those keys alone), as in
    FAN and RVT, whose maps hold no other tokens. Registers exist to be attended to by everyone, which ADL would punish:
    choose ``'patches'`` for a model with registers. The attention that pools with ``global_pool='map'`` is not shown.

    Args:
        model_name: name in ``timm.list_models()``, such as ``'deit3_base_patch16_224'``; or the network itself, which
            shares its parameters with the backbone, and is left to it; ``timm_kwargs`` are then not used.
        pretrained: load timm's weights for this name while the model is built. TAP starts from its own initialisation.
        img_size: height and width of the images for which each patch has its own position embedding; None keeps the
            model's. It need not be the size of the images.
        tap_cfg: None for the baseline; ``dict(num_branches=4)`` for TAP; with a ``type``, one of its rivals of Table 1.
        out_type: ``'featmap'``, ``'cls_token'`` or ``'cls_dist_tokens'``.
        out_indices: the blocks whose tokens are feature maps, ascending; negative ones count from the last block.
        norm_maps: apply the model's final norm to every feature map. Models that pool before their norm have none.
        observed_tokens: ``'all'`` or ``'patches'``, see above.
        adapter: ``dict(num_tokens=100, rank=16)`` refines the patch tokens after each block by a
            :class:`~mmrobust.models.layers.TokenRefinement` and freezes all of the network but that and TAP: no
            gradient, nothing dropped. Trained weights are needed; adapter and TAP may be missing in them.
        frozen_stages: -1 freezes nothing, 0 patch and position embeddings and prefix tokens, k the first k blocks too.
        norm_eval: keep batch norms in evaluation mode while training.
        with_cp: recompute the blocks' activations in the backward pass instead of keeping them.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` takes checkpoints of timm and of this project, with or
            without a head, strictly: one without TAP does not fit a model with TAP, as with FAN. Overrules
            ``pretrained``.
        **timm_kwargs: arguments of timm's model, such as ``drop_path_rate`` (linear from 0 to this in the last block),
            ``attn_drop_rate``, ``proj_drop_rate`` or ``global_pool``.

    Raises:
        ImportError: if timm is not installed.
        TypeError: if ``adapter`` is neither a dict nor None.
        ValueError: if ``model_name`` is unknown, no ``VisionTransformer`` or ``Eva`` (NaFlex is none: its tokens are no
            grid), or one whose blocks are not run here; if another argument or an image's size is not allowed; if there
            is not one token per patch.
    """

    def __init__(
        self,
        model_name: str | nn.Module,
        pretrained: bool = False,
        img_size: int | tuple[int, int] | None = None,
        tap_cfg: dict | None = None,
        out_type: str = 'featmap',
        out_indices: Sequence[int] = (-1,),
        norm_maps: bool = True,
        observed_tokens: str = 'all',
        adapter: dict | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
        **timm_kwargs: Any,
    ) -> None:
        super().__init__(frozen_stages, norm_eval, with_cp, init_cfg)
        check_choice('out_type', out_type, OUT_TYPES)
        check_choice('observed_tokens', observed_tokens, OBSERVED_TOKENS)
        if isinstance(model_name, nn.Module):
            vit, model_name = model_name, type(model_name).__name__
        else:
            vit = _create_vit(model_name, pretrained, img_size, timm_kwargs)
        _check_blocks(vit, model_name)
        depth = len(vit.blocks)
        self.check_frozen_stages(depth, model_name)
        indices = [index + depth if index < 0 else index for index in out_indices]
        check_out_indices(indices, depth, given=out_indices)
        is_dense = out_type == 'featmap'
        self.pretrained = pretrained
        self.out_type = out_type
        self.out_indices = tuple(indices)
        self.embed_dims = vit.embed_dim
        self.num_prefix_tokens = vit.num_prefix_tokens
        self.no_embed_class = vit.no_embed_class
        self.global_pool = vit.global_pool
        self.pool_include_prefix = getattr(
            vit, 'pool_include_prefix', vit.attn_pool is not None
        )  # Eva has no such option

        self.patch_embed = copy.copy(vit.patch_embed)  # with its parameters; the network may belong to somebody else
        self.img_size = tuple(vit.patch_embed.img_size)
        self.patch_embed.img_size = None  # so that it takes any size; the position embedding is resampled here
        self.cls_token = vit.cls_token
        self.dist_token = getattr(vit, 'dist_token', None)
        self.reg_token = vit.reg_token
        self.pos_embed = vit.pos_embed
        self.pos_drop = vit.pos_drop
        self.norm_pre = vit.norm_pre
        self.rope = getattr(vit, 'rope', None)
        self.rope_by_block = getattr(vit, 'rope_mixed', False)
        tokens = (
            self.num_prefix_tokens,
            0 if self.reg_token is None else self.reg_token.size(1),
            observed_tokens == 'patches',
        )
        self.blocks = nn.ModuleList(
            TimmBlock(block, build_tap(tap_cfg, self.embed_dims), *tokens)
            for block in vit.blocks[: indices[-1] + 1 if is_dense else depth]
        )
        self.adapter = _build_adapter(adapter, self.embed_dims, len(self.blocks), frozen_stages)
        self.new_parts = () if adapter is None else ('adapter.', '.tap.')
        self.norm = vit.norm if norm_maps or not is_dense else nn.Identity()
        if not is_dense:
            self.attn_pool = vit.attn_pool
            self.fc_norm = vit.fc_norm
            self.head_drop = vit.head_drop
        if out_type == 'cls_dist_tokens' and self.dist_token is None:
            raise ValueError(f"out_type 'cls_dist_tokens' needs a distillation token, but {model_name} has none")
        if out_type == 'cls_token' and not self.global_pool:
            raise ValueError(f"out_type 'cls_token' needs a global_pool other than '', the one of {model_name}")
        self.left_out = set(vit.state_dict()) - set(self.state_dict())
        self.train()  # freezes, before anyone wraps the model for distributed training

    def forward(
        self, images: Tensor, observe: Observe | None = None
    ) -> tuple[Any, ...] | tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Images ``(B, 3, H, W)``, sides multiples of the patch size, to ``outs`` or ``(outs, aux)`` (base class)."""
        x, hw_shape = self._embed(images)
        rope = self._angles(hw_shape)
        maps, aux = [], []
        for index, block in enumerate(self.blocks):
            of_block = rope[index] if self.rope_by_block else rope
            x, observed = self.run_block(block, x, hw_shape, observe=observe, rope=of_block)
            aux.append(observed)
            if self.adapter is not None:
                x = recompute(self._refine, x, index, random=False) if self.with_cp else self._refine(x, index)
            if self.out_type == 'featmap' and index in self.out_indices:
                maps.append(to_map(self.norm(x)[:, self.num_prefix_tokens :], hw_shape))
        outs = tuple(maps) if self.out_type == 'featmap' else (self._class_tokens(self.norm(x)),)
        return outs if observe is None else (outs, tuple(aux))

    def _refine(self, x: Tensor, block: int) -> Tensor:
        """The tokens after a block, of which the adapter changes the patches."""
        prefix, patches = x[:, : self.num_prefix_tokens], x[:, self.num_prefix_tokens :]
        return torch.cat((prefix, self.adapter(patches, block)), dim=1)

    def _embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Images to tokens with their position, prefix tokens first, and the token grid ``(Hp, Wp)``."""
        size = tuple(images.shape[-2:])
        # patches of 14 pixels do not fill the 384 of some SigLIP models
        if size != self.img_size and not self.patch_embed.dynamic_img_pad:
            check_size(size, self.patch_embed.feat_ratio(as_scalar=False), self.out_type == 'featmap')
        hw_shape = tuple(self.patch_embed.dynamic_feat_size(size))
        patches = self.patch_embed(images)
        patches = patches.flatten(1, -2)  # a grid if the model was built with dynamic_img_size=True
        if patches.shape[1:] != (hw_shape[0] * hw_shape[1], self.embed_dims):
            raise ValueError(
                f'TAP and feature maps need {self.embed_dims} channels for each of {hw_shape[0]} x {hw_shape[1]} '
                f'patches, but {type(self.patch_embed).__name__} made tokens of shape {tuple(patches.shape[1:])}'
            )
        prefix = [
            token.expand(images.size(0), -1, -1)
            for token in (self.cls_token, self.dist_token, self.reg_token)
            if token is not None
        ]
        if self.pos_embed is None:
            x = torch.cat((*prefix, patches), dim=1)
        else:
            position = self._resample(self.pos_embed, hw_shape, self.patch_embed.grid_size)
            if self.no_embed_class:
                x = torch.cat((*prefix, patches + position), dim=1)
            else:
                x = torch.cat((*prefix, patches), dim=1) + position
        if self.pos_embed is not None or self.rope is not None:
            x = self.pos_drop(x)
        return self.norm_pre(x), hw_shape

    def _angles(self, hw_shape: tuple[int, int]) -> Tensor | None:
        """Sine and cosine of the angles of RoPE, ``(Hp * Wp, 2 * D)`` or that for each block and head; None without."""
        if self.rope is None:
            return None
        if hasattr(self.rope, 'update_feat_shape'):  # some kinds keep those of one grid, and compare it with a tuple
            self.rope.update_feat_shape(hw_shape)
        return self.rope.get_embed(shape=hw_shape)

    def _resample(self, pos_embed: Tensor, new: tuple[int, int], old: tuple[int, int] | None = None) -> Tensor:
        """The position embedding of another token grid; ``old`` None stands for a square one."""
        from timm.layers import resample_abs_pos_embed

        num_prefix_tokens = 0 if self.no_embed_class else self.num_prefix_tokens
        return resample_abs_pos_embed(pos_embed, new, old, num_prefix_tokens)

    def _class_tokens(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        from timm.models.vision_transformer import global_pool_nlc

        if self.dist_token is not None:
            tokens = self.head_drop(x[:, 0]), self.head_drop(x[:, 1])
            return tokens if self.out_type == 'cls_dist_tokens' else (tokens[0] + tokens[1]) / 2
        if self.attn_pool is not None:
            x = self.attn_pool(x if self.pool_include_prefix else x[:, self.num_prefix_tokens :])
        else:
            x = global_pool_nlc(x, self.global_pool, self.num_prefix_tokens, self.pool_include_prefix)
        return self.head_drop(self.fc_norm(x))

    def stages_to_freeze(self) -> list[nn.Module]:
        position = () if self.rope is None else (self.rope,)
        return [self.patch_embed, *position, self.norm_pre, *self.blocks[: self.frozen_stages]]

    def methods_to_compile(self) -> list[tuple[nn.Module, str]]:
        return super().methods_to_compile() + ([] if self.adapter is None else [(self.adapter, 'forward')])

    def freeze(self) -> None:
        """Also prefix tokens and position embedding, which are no modules; with an adapter all but that and TAP."""
        super().freeze()
        if self.frozen_stages >= 0 or self.adapter is not None:
            for parameter in self.parameters(recurse=False):
                parameter.requires_grad_(False)
        if self.adapter is not None:
            for part in self.children():
                part.eval().requires_grad_(False)
            for part in (self.adapter, *(block.tap for block in self.blocks if block.tap is not None)):
                part.train().requires_grad_(True)

    def init_weights(self) -> None:
        """Keep timm's pretrained weights; else as every backbone: what ``init_cfg`` says."""
        if self.pretrained and not self.init_cfg:
            self._is_init = True
        elif self.adapter is not None and (self.init_cfg or {}).get('type') != 'Pretrained':
            raise ValueError(
                'A backbone with an adapter is frozen, so it must start from trained weights, got none: give '
                "model.backbone.pretrained=True or model.backbone.init_cfg=dict(type='Pretrained', checkpoint=PATH)"
            )
        else:
            super().init_weights()

    def adapt_state_dict(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leaves out what this backbone has not: the head, and for dense prediction the parts behind the last map.

        Names of DINOv2, of CLIP and of DeiT III's authors become timm's, by timm's own function. A position embedding
        of another number of tokens is resampled, if those form a square, and a warning says so.
        """
        weights, own = super().adapt_state_dict(state_dict), self.state_dict()
        if any(re.match(OTHERS_NAMES, key) and key not in own for key in weights):  # Eva has such names itself
            weights = with_timms_names(weights)
        adapted = {
            key: value
            for key, value in weights.items()
            if key not in self.left_out and not key.startswith(('head.', 'head_dist.'))
        }
        pos_embed = adapted.get('pos_embed')
        if pos_embed is not None and self.pos_embed is not None and pos_embed.size(1) != self.pos_embed.size(1):
            num_patches = pos_embed.size(1) - (0 if self.no_embed_class else self.num_prefix_tokens)
            side, grid_size = math.isqrt(num_patches), self.patch_embed.grid_size
            if num_patches > 0 and side**2 == num_patches:
                adapted['pos_embed'] = self._resample(pos_embed, grid_size)
                warnings.warn(
                    f'The position embedding of {side} x {side} patches is resampled to {grid_size[0]} x '
                    f'{grid_size[1]}, the grid of this model (img_size)',
                    stacklevel=2,
                )
        return adapted


def with_timms_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of DINOv2, of CLIP and of DeiT III's authors under timm's names."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    # shown patches of their own size and no positions, or it would resample both without a word
    patches = [key for key in state_dict if key.endswith(('patch_embed.proj.weight', 'visual.conv1.weight'))]
    proj = SimpleNamespace(weight=state_dict[patches[0]] if patches else None)
    model = SimpleNamespace(pos_embed=None, head=None, patch_embed=SimpleNamespace(proj=proj))
    return checkpoint_filter_fn(dict(state_dict), model, adapt_layer_scale=True)


def _build_adapter(adapter: dict | None, embed_dims: int, num_blocks: int, frozen_stages: int) -> nn.Module | None:
    """What refines tokens after each block; None for None."""
    if adapter is None:
        return None
    if not isinstance(adapter, dict):
        raise TypeError(f'adapter must be a dict such as dict(num_tokens=100, rank=16), got {adapter!r}')
    if frozen_stages >= 0:
        raise ValueError(f'frozen_stages must be -1 with an adapter, which freezes all blocks, got {frozen_stages}')
    return MODELS.build(
        {'type': 'mmrobust.TokenRefinement', **adapter, 'embed_dims': embed_dims, 'num_blocks': num_blocks}
    )


def _create_vit(
    model_name: str, pretrained: bool, img_size: int | tuple[int, int] | None, timm_kwargs: dict[str, Any]
) -> nn.Module:
    """The timm model without its head, of a kind that is run here."""
    try:
        import timm
    except ImportError as error:
        raise ImportError(f'TimmViT and DeiT need timm: pip install timm ({error})') from error

    if ':' not in model_name and not timm.is_model(model_name):  # hf-hub:... and local-dir:... are timm's business
        close = difflib.get_close_matches(model_name.split('.')[0], timm.list_models())
        hint = f'; close to it are {", ".join(close)}' if close else ''
        raise ValueError(f'model_name must be one of timm.list_models(), got {model_name!r}{hint}')
    for name in ('num_classes', 'patch_drop_rate'):  # no head; and TAP and feature maps need the whole grid
        if timm_kwargs.get(name):
            raise ValueError(f'{name} must be 0 in a backbone, got {timm_kwargs[name]}')
    try:
        return timm.create_model(model_name, pretrained, img_size=img_size, **{**timm_kwargs, 'num_classes': 0})
    except (AssertionError, TypeError) as error:  # pooling by a class token that is not there; a setting of others
        settings = timm_kwargs if img_size is None else {'img_size': img_size, **timm_kwargs}
        raise ValueError(
            f'model_name must name a VisionTransformer or Eva of timm, and the settings be its own, but timm does not '
            f'build {model_name} with {settings}: {error}'
        ) from error


def _check_blocks(vit: nn.Module, model_name: str) -> None:
    """Raises a ValueError if a network of timm is of a kind that is not run here."""
    from timm.layers import Attention as TimmAttention
    from timm.layers import AttentionRope
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.eva import Eva, EvaAttention, EvaBlock
    from timm.models.vision_transformer import Block, VisionTransformer

    if type(vit) not in (VisionTransformer, VisionTransformerDistilled, Eva):
        raise ValueError(
            f'model_name must name a VisionTransformer or Eva of timm, got {model_name!r}, of class '
            f'{type(vit).__name__}'
        )
    for block in vit.blocks:
        kinds = [type(module) for module in (block, getattr(block, 'attn', None)) if module is not None]
        if kinds not in ([Block, TimmAttention], [EvaBlock, EvaAttention], [EvaBlock, AttentionRope]):
            got = ' with '.join(kind.__name__ for kind in kinds)
            raise ValueError(
                f"TimmViT runs timm's Block with Attention and EvaBlock with EvaAttention or AttentionRope, but the "
                f'blocks of {model_name} are {got}'
            )
        for module, known in ((block, BLOCK_PARTS), (block.attn, ATTENTION_PARTS)):
            parts = (*module.named_children(), *module.named_parameters(recurse=False))
            unknown = {name for name, _ in parts} - known
            if unknown:
                raise ValueError(
                    f"TimmViT does not run {sorted(unknown)} of timm's {type(module).__name__}, which {model_name} has"
                )


@MODELS.register_module()
class DeiT(TimmViT):
    """DeiT (Touvron et al., ICML 2021, arXiv:2012.12877), the plain vision transformer of the paper's Table 5.

    Patches of 16 pixels, 12 blocks, a class token.

    The architecture and the names of its parameters are timm's, so released DeiT weights fit.

    Args:
        arch: ``'tiny'``, ``'small'`` or ``'base'``: 192, 384 or 768 channels and 3, 6 or 12 heads.
        distilled: with a distillation token; ``out_type='cls_dist_tokens'`` returns both tokens, for
            ``mmpretrain.DeiTClsHead``.
        **kwargs: arguments of :class:`TimmViT`, such as ``tap_cfg``, ``out_type`` and ``drop_path_rate``.

    Raises:
        ImportError: if timm is not installed.
        ValueError: if ``arch`` is none of the three, or as in :class:`TimmViT`.
    """

    def __init__(self, arch: str = 'base', distilled: bool = False, **kwargs: Any) -> None:
        check_choice('arch', arch, DEIT_ARCHS)
        super().__init__(f'deit_{arch}{"_distilled" if distilled else ""}_patch16_224', **kwargs)
