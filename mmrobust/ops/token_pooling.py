"""Token-aware pooling: every token mixes averages of its neighbourhood over several windows, with weights of its own.

A *window* is the tuple of offsets that an average visits along each axis: ``(0,)`` is the token itself, ``(-2, 0, 2)``
a 3 x 3 average of dilation 2, ``(-1, 0, 1)`` the plain 3 x 3 one. Outside the map lies zero, and an average is always
divided by the size of its full window, as in the released code (paper, Sec. 3.2, leaves the border open).
"""

# B batch, H W token grid, C channels, K branches (windows)

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

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
    columns; no neighbourhood is gathered. The backward pass averages again instead of keeping K pooled maps.

    Args:
        x: ``(B, H, W, C)``, the layout in which tokens ``(B, H * W, C)`` already lie.
        weights: ``(B, H, W, K)``.
        windows: K windows, symmetric around 0 (see :func:`dilated_windows`).

    Returns:
        ``(B, H, W, C)``, dtype of ``x``.
    """
    return _WeightedAvgPool.apply(x, weights.to(x.dtype), tuple(windows))


class _WeightedAvgPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weights: Tensor, windows: tuple[Window, ...]) -> Tensor:
        ctx.save_for_backward(x, weights)
        ctx.windows = windows
        out = torch.zeros_like(x)
        for weight, window in zip(weights.split(1, dim=-1), windows, strict=True):
            out.addcmul_(_window_mean(x, window), weight)
        return out

    @staticmethod
    def backward(ctx, grad_out: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weights = ctx.saved_tensors
        grad_x = torch.zeros_like(x)
        grad_weights = []
        for weight, window in zip(weights.split(1, dim=-1), ctx.windows, strict=True):
            # windows are symmetric, so an average is its own adjoint
            grad_x += _window_mean(grad_out * weight, window)
            grad_weights.append((grad_out * _window_mean(x, window)).sum(-1))
        # stacked: inductor's CPU code for a concatenation of keepdim sums writes out of bounds (torch 2.14)
        return grad_x, torch.stack(grad_weights, dim=-1), None


def _window_mean(x: Tensor, window: Window) -> Tensor:
    if window == (0,):
        return x
    return _shifted_sum(_shifted_sum(x, window, dim=1), window, dim=2).div_(len(window) ** 2)


def _shifted_sum(x: Tensor, offsets: Window, dim: int) -> Tensor:
    size = x.size(dim)
    out = x.clone()
    for offset in offsets:
        if 0 < abs(offset) < size:
            overlap = size - abs(offset)
            out.narrow(dim, max(-offset, 0), overlap).add_(x.narrow(dim, max(offset, 0), overlap))
    return out
