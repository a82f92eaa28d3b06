"""A step in the form in which it was released: neighbourhoods gathered, maps kept, levels of the head concatenated.

Written from facts about the released code, as what ours is measured against: ADL takes a copy of every map. Left out is
what that code computes twice or for nothing (the gate times the values of channel attention, the class-attention blocks
in dense prediction, tokens permuted at every block), so it is a fast one.
"""

# B batch, H W token grid, N tokens, C channels, K branches

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrobust.models import FANSegformerHead
from mmrobust.models.layers import AttentionView, Observe
from mmrobust.models.losses import DiversificationTerm
from mmrobust.ops import attention_diversification_reference


def unfold_pool(
    x: Tensor, weights: Tensor, windows: Sequence[tuple[int, ...]], dtype: torch.dtype | None = None
) -> Tensor:
    """:func:`mmrobust.ops.weighted_avg_pool` by im2col: ``(B, H, W, C)``, weights ``(B, H, W, K)``."""
    planes = x.permute(0, 3, 1, 2)
    batch, channels, height, width = planes.shape
    branches = []
    for window in windows:
        if window == (0,):
            branches.append(planes)
            continue
        side, dilation = len(window), window[1] - window[0]
        columns = F.unfold(planes, side, dilation=dilation, padding=max(window))
        branches.append(columns.view(batch, channels, side * side, height, width).mean(2))
    pooled = (torch.stack(branches, 1) * weights.permute(0, 3, 1, 2).unsqueeze(2)).sum(1).permute(0, 2, 3, 1)
    return pooled.to(dtype or x.dtype)


def full_map_attend(
    view: AttentionView, value: Tensor, dropout: float = 0.0, observe: Observe | None = None
) -> tuple[Tensor, Any]:
    """:func:`mmrobust.models.layers.attend` with the whole map, which ADL takes a copy of, and which is kept."""
    attn = view.probs()
    out = F.dropout(attn, dropout).to(value.dtype) @ value
    if isinstance(observe, DiversificationTerm):
        term = attention_diversification_reference(
            attn.clone(), observe.tau, observe.mode, observe.per_head, *view.attention[-2:]
        )
        return out, term
    return out, None if observe is None else observe(view)


def concatenating_head(head: FANSegformerHead, inputs: tuple[Tensor, ...]) -> Tensor:
    """:class:`mmrobust.models.FANSegformerHead` with every level projected, resized and concatenated."""
    maps = head._transform_inputs(inputs)
    levels = []
    for level, features in enumerate(maps, start=1):
        projected = getattr(head, f'linear_c{level}')(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        levels.append(F.interpolate(projected, maps[0].shape[2:], mode='bilinear') if level > 1 else projected)
    return head.cls_seg(head.linear_fuse(torch.cat(levels[::-1], dim=1)))


def keep_activations(function: Callable[..., Any], *args: Any, **_: Any) -> Any:
    """:func:`mmrobust.models.layers.recompute` that recomputes nothing."""
    return function(*args)


@contextmanager
def released_form() -> Iterator[None]:
    """Within it, all models compute TAP, attention and FAN's head in these forms, and keep all activations."""
    with (
        mock.patch('mmrobust.models.layers.tap.weighted_avg_pool', unfold_pool),
        mock.patch('mmrobust.models.layers.attention.attend', full_map_attend),
        mock.patch('mmrobust.models.layers.window_attention.attend', full_map_attend),
        mock.patch('mmrobust.models.backbones.timm_vit.attend', full_map_attend),
        mock.patch('mmrobust.models.layers.feed_forward.recompute', keep_activations),
        mock.patch('mmrobust.models.layers.patch_embed.recompute', keep_activations),
        mock.patch.object(FANSegformerHead, 'forward', concatenating_head),
    ):
        yield
