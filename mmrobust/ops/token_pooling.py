"""Token-aware pooling: every token mixes averages of its neighbourhood over several windows, with weights of its own.

A *window* is the tuple of offsets that an average visits along each axis: ``(0,)`` is the token itself, ``(-2, 0, 2)``
a 3 x 3 average of dilation 2, ``(-1, 0, 1)`` the plain 3 x 3 one. Outside the map lies zero, and an average is always
divided by the size of its full window, as in the released code (paper, Sec. 3.2, leaves the border open).
"""

# B batch, H W token grid, C channels, K branches (windows)

from collections.abc import Sequence
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrobust.ops import token_pooling_blocks, token_pooling_fused
from mmrobust.ops.triton_choice import triton_wanted

Window = tuple[int, ...]


def dilated_windows(num_branches: int) -> tuple[Window, ...]:
    """TAP's windows: the token itself, then 3 x 3 with dilation 1 .. K-1."""
    return tuple((-dilation, 0, dilation) if dilation else (0,) for dilation in range(num_branches))


def kernel_windows(num_branches: int) -> tuple[Window, ...]:
    """Windows of the multi-kernel rival of Table 1: un-dilated, of size 1, 3, 5, ..., 2K-1."""
    return tuple(tuple(range(-radius, radius + 1)) for radius in range(num_branches))


def weighted_avg_pool_reference(x: Tensor, weights: Tensor, windows: Sequence[Window]) -> Tensor:
    """The plain formula, with every neighbour gathered: what :func:`weighted_avg_pool` must be equal to.

    Args:
        x: ``(B, H, W, C)``.
        weights: ``(B, H, W, K)``.
        windows: K windows, symmetric around 0.

    Returns:
        ``(B, H, W, C)``.
    """
    reach = max(max(window) for window in windows)
    height, width = x.shape[1:3]
    padded = F.pad(x, (0, 0, reach, reach, reach, reach))
    branches = []
    for window in windows:
        neighbours = [
            padded[:, reach + dy : reach + dy + height, reach + dx : reach + dx + width]
            for dy in window
            for dx in window
        ]
        branches.append(torch.stack(neighbours).mean(0))
    return (torch.stack(branches, dim=-1) * weights.unsqueeze(-2)).sum(-1)


def weighted_avg_pool(x: Tensor, weights: Tensor, windows: Sequence[Window]) -> Tensor:
    """Sum over branches of ``weights_k * mean over window_k of x``, for channels-last maps.

    A box average is the same for all channels and separable, so it is a sum of shifted rows and then of shifted
    columns; no neighbourhood is gathered. The backward pass averages again instead of keeping K pooled maps. On a CPU
    this is done for some channels at a time, so that it happens in the cache.

    Args:
        x: ``(B, H, W, C)``, the layout in which tokens ``(B, H * W, C)`` already lie.
        weights: ``(B, H, W, K)``.
        windows: K windows, symmetric around 0 (see :func:`dilated_windows`).

    Returns:
        ``(B, H, W, C)``, dtype of ``x``; summed in float32 at least.
    """
    return _WeightedAvgPool.apply(x, weights, tuple(windows))


class _WeightedAvgPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weights: Tensor, windows: tuple[Window, ...]) -> Tensor:
        ctx.save_for_backward(x, weights)
        ctx.windows = windows
        return _form(x).pool(x, _shares(weights, windows), windows)

    @staticmethod
    def backward(ctx, grad_out: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weights = ctx.saved_tensors
        grad_x, grads = _form(x).pool_backward(grad_out, x, _shares(weights, ctx.windows), ctx.windows)
        # stacked: inductor's CPU code for a concatenation of keepdim sums writes out of bounds (torch 2.14)
        scaled = [grad.squeeze(-1) / len(window) ** 2 for grad, window in zip(grads, ctx.windows, strict=True)]
        return grad_x, torch.stack(scaled, dim=-1).to(weights.dtype), None


def _form(x: Tensor) -> ModuleType:
    """The module that computes it here."""
    if triton_wanted(x):
        from mmrobust.ops import token_pooling_triton

        return token_pooling_triton
    return token_pooling_fused if torch.compiler.is_compiling() else token_pooling_blocks


def _shares(weights: Tensor, windows: Sequence[Window]) -> list[Tensor]:
    """What each branch's sum is multiplied with: ``(B, H, W, 1)`` per branch, float32 at least."""
    weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
    return [share / len(window) ** 2 for share, window in zip(weights.split(1, dim=-1), windows, strict=True)]
