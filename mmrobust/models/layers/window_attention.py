"""Swin's shifted-window self-attention."""

# B batch, N = height * width tokens, C channels, H heads, D = C / H,
# w side of a window, n = w * w tokens of a window, W windows of an image, S regions of a window

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrobust.models.layers.attention import AttentionView, Observe, attend
from mmrobust.ops import Attention


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows of w x w tokens, with a learned bias for each relative position.

    Swin (Liu et al., ICCV 2021, arXiv:2103.14030), Sec. 3.2. A grid that is no multiple of the window is padded at the
    bottom and on the right with zeros, after the norm; these are keys like all others, as in MMSegmentation.

    A shifted layer rolls the padded grid by half a window, so that windows at the bottom and on the right hold tokens
    from both ends of the grid. These do not see each other: such a window consists of two or four regions, which are
    the smaller windows at the border that the paper draws. Along an axis with one window only, nothing is shifted.

    The :class:`AttentionView` has one entry per window, ``B * W`` of them; its grid is that of a window, w x w. Regions
    and padding are named in it, so that ADL takes a region for what it is, a window of its own, with N the number of
    its keys (n without a mask, padding included), and does not look at what padding attends to.

    The output always comes from ``scaled_dot_product_attention``, observed or not, so that observing changes nothing.

    Args:
        embed_dims: channels C, a multiple of ``num_heads``.
        num_heads: heads H.
        window_size: side w of a window in tokens.
        shifted: shift the windows by ``w // 2`` along both axes.
        attn_drop_rate: dropout of attention probabilities, in [0, 1].
        proj_drop_rate: dropout of the output, in [0, 1].

    Raises:
        ValueError: if ``embed_dims`` is no multiple of ``num_heads``.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        window_size: int,
        shifted: bool,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims must be a multiple of num_heads, got {embed_dims} and {num_heads}')
        self.num_heads = num_heads
        self.window_size = window_size
        self.shifted = shifted
        self.scale = (embed_dims // num_heads) ** -0.5
        self.attn_drop_rate = attn_drop_rate
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window_size - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer('relative_position_index', _relative_positions(window_size), persistent=False)
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop_rate)

    def forward(
        self,
        x: Tensor,
        hw_shape: tuple[int, int],
        *,
        observe: Observe | None = None,
        tap_weights: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """``(B, N, C)`` to the same shape, and what ``observe`` made of this layer's attention (None without it).

        ``tap_weights`` and ``tokens`` are for ``observe``.
        """
        (height, width), side = hw_shape, self.window_size
        padding = (-height % side, -width % side)
        padded = (height + padding[0], width + padding[1])
        shift = tuple(side // 2 if self.shifted and length > side else 0 for length in padded)

        grid = F.pad(x.unflatten(1, hw_shape), (0, 0, 0, padding[1], 0, padding[0]))
        windows = _to_windows(grid.roll((-shift[0], -shift[1]), (1, 2)), side)
        query, key, value = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query = query * self.scale
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)[None]  # (1, H, n, n)
        regions: tuple[Tensor, ...] = ()
        if any(shift) or any(padding):
            regions = _regions(hw_shape, padded, shift, side, x.device)
            if any(shift):
                bias = (bias + _mask(regions[1])).repeat(x.size(0), 1, 1, 1)
            regions = tuple(region.repeat(x.size(0), 1, 1) for region in regions)
        dropout = self.attn_drop_rate if self.training else 0.0
        attention = Attention(query, key, None, bias, *regions)
        num_windows = (padded[0] // side) * (padded[1] // side)
        view = AttentionView(attention, (side, side), tap_weights=tap_weights, num_windows=num_windows, tokens=tokens)
        out, aux = attend(view, value, dropout, observe)

        grid = _from_windows(out.transpose(1, 2).flatten(2), padded, side).roll(shift, (1, 2))
        out = self.proj_drop(self.proj(grid[:, :height, :width].flatten(1, 2)))
        return out, aux


def _relative_positions(side: int) -> Tensor:
    """For query and key of a window the row of the table of biases, ``(n, n)``: offset (dy, dx) in raster order."""
    place = torch.arange(side * side)
    y, x = place // side, place % side
    dy, dx = y[:, None] - y, x[:, None] - x
    return (dy + side - 1) * (2 * side - 1) + dx + side - 1


def _to_windows(grid: Tensor, side: int) -> Tensor:
    """``(B, height, width, C)`` to ``(B * W, n, C)``, both in raster order."""
    split = grid.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (B, rows, w, columns, w, C)
    return split.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def _from_windows(windows: Tensor, hw_shape: tuple[int, int], side: int) -> Tensor:
    """The inverse of :func:`_to_windows`."""
    rows, columns = hw_shape[0] // side, hw_shape[1] // side
    split = windows.unflatten(1, (side, side)).unflatten(0, (-1, rows, columns))
    return split.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _regions(
    hw_shape: tuple[int, int], padded: tuple[int, int], shift: tuple[int, int], side: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Which queries and which keys of a window lie in which region, each bool ``(W, S, n)``.

    Along an axis a rolled grid is cut where the end of the grid meets its start. A query of padding is in no region.
    """
    axes = [torch.arange(length, device=device) for length in padded]
    # the part behind the cut of a rolled axis, which belongs to the start of the grid
    wrapped = [axis >= axis.numel() - cut for axis, cut in zip(axes, shift, strict=True)]
    real = [(axis < length).roll(-cut) for axis, length, cut in zip(axes, hw_shape, shift, strict=True)]
    part = 2 * wrapped[0][:, None] + wrapped[1]
    keys = _to_windows((part[..., None] == torch.arange(4, device=device))[None], side).transpose(1, 2)
    queries = keys & _to_windows((real[0][:, None] & real[1])[None, ..., None], side).transpose(1, 2)
    return queries, keys


def _mask(key_regions: Tensor) -> Tensor:
    """0 where two tokens lie in the same region, else ``-inf``: ``(W, 1, n, n)``."""
    together = (key_regions.unsqueeze(-1) & key_regions.unsqueeze(-2)).any(1)
    return torch.zeros_like(together, dtype=torch.float32).masked_fill(~together, -torch.inf).unsqueeze(1)
