"""Token-aware pooling: every token mixes averages of its neighbourhood over several windows, with weights of its own.

A *window* is the tuple of offsets that an average visits along each axis: ``(0,)`` is the token itself, ``(-2, 0, 2)``
a 3 x 3 average of dilation 2, ``(-1, 0, 1)`` the plain 3 x 3 one. Outside the map lies zero, and an average is always
divided by the size of its full window, as in the released code (paper, Sec. 3.2, leaves the border open).
"""

# B batch, H W token grid, C channels, K branches (windows)

from collections.abc import Sequence
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrobust.ops import kernels
from mmrobust.ops.token_pooling_pytorch import FUSED, IN_BLOCKS, Form

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


def weighted_avg_pool(
    x: Tensor, weights: Tensor, windows: Sequence[Window], dtype: torch.dtype | None = None
) -> Tensor:
    """Sum over branches of ``weights_k * mean over window_k of x``, for channels-last maps.

    A box average is the same for all channels and separable, so it is a sum of shifted rows and then of shifted
    columns; no neighbourhood is gathered. The backward pass averages again instead of keeping K pooled maps. On a CPU
    this is done for some channels at a time, so that it happens in the cache.

    Args:
        x: ``(B, H, W, C)``, the layout in which tokens ``(B, H * W, C)`` already lie.
        weights: ``(B, H, W, K)``.
        windows: K windows, symmetric around 0 (see :func:`dilated_windows`).
        dtype: of the result; None is that of ``x``.

    Returns:
        ``(B, H, W, C)``; summed in float32 at least.
    """
    windows, dtype = tuple(map(tuple, windows)), dtype or x.dtype
    if kernels.fit(x) and x.numel():
        return torch.ops.mmrobust.weighted_avg_pool(x, weights, *_flat(windows), dtype)
    return _WeightedAvgPool.apply(x, weights, windows, dtype)


class _WeightedAvgPool(torch.autograd.Function):
    """In PyTorch's own operators, which the compiler may fuse."""

    @staticmethod
    def forward(ctx, x: Tensor, weights: Tensor, windows: tuple[Window, ...], dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(x, weights)
        ctx.windows = windows
        return _in_pytorch(x, weights, windows, dtype)

    @staticmethod
    def backward(ctx, grad_out: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return *_in_pytorch_backward(grad_out, *ctx.saved_tensors, ctx.windows), None, None


def _in_pytorch(x: Tensor, weights: Tensor, windows: tuple[Window, ...], dtype: torch.dtype) -> Tensor:
    return _form().pool(x, _shares(weights, windows), windows, dtype)


def _in_pytorch_backward(
    grad_out: Tensor, x: Tensor, weights: Tensor, windows: tuple[Window, ...]
) -> tuple[Tensor, Tensor]:
    grad_x, grads = _form().pool_backward(grad_out, x, _shares(weights, windows), windows)
    # stacked: inductor's CPU code for a concatenation of keepdim sums writes out of bounds (torch 2.14)
    scaled = [grad.squeeze(-1) / len(window) ** 2 for grad, window in zip(grads, windows, strict=True)]
    return grad_x, torch.stack(scaled, dim=-1).to(weights.dtype)


def _form() -> Form:
    # a trace holds the operations themselves, so they must be differentiable: none in place
    return FUSED if torch.compiler.is_compiling() or torch.jit.is_tracing() else IN_BLOCKS


def _shares(weights: Tensor, windows: Sequence[Window]) -> list[Tensor]:
    """Factor of each branch's sum: ``(B, H, W, 1)`` per branch, float32 at least."""
    weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
    return [share / len(window) ** 2 for share, window in zip(weights.split(1, dim=-1), windows, strict=True)]


# On a GPU pooling is an operator, whose kernels are the same in eager mode and under torch.compile.


@torch.library.custom_op('mmrobust::weighted_avg_pool', mutates_args=())
def _weighted_avg_pool(x: Tensor, weights: Tensor, offsets: list[int], sizes: list[int], dtype: torch.dtype) -> Tensor:
    windows = _nested(offsets, sizes)

    def by_kernels() -> Tensor:
        from mmrobust.ops import token_pooling_triton

        return token_pooling_triton.pool(x, weights, windows, dtype)

    return kernels.run_or(by_kernels, lambda: _in_pytorch(x, weights, windows, dtype).contiguous())


@_weighted_avg_pool.register_fake
def _(x: Tensor, weights: Tensor, offsets: list[int], sizes: list[int], dtype: torch.dtype) -> Tensor:
    return torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format)


@torch.library.custom_op('mmrobust::weighted_avg_pool_backward', mutates_args=())
def _weighted_avg_pool_backward(
    grad_out: Tensor, x: Tensor, weights: Tensor, offsets: list[int], sizes: list[int]
) -> tuple[Tensor, Tensor]:
    windows = _nested(offsets, sizes)

    def by_kernels() -> tuple[Tensor, Tensor]:
        from mmrobust.ops import token_pooling_triton

        return token_pooling_triton.pool_backward(grad_out, x, weights, windows)

    def in_pytorch() -> tuple[Tensor, Tensor]:
        grad_x, grad_weights = _in_pytorch_backward(grad_out, x, weights, windows)
        return grad_x.contiguous(), grad_weights.contiguous()

    return kernels.run_or(by_kernels, in_pytorch)


@_weighted_avg_pool_backward.register_fake
def _(grad_out: Tensor, x: Tensor, weights: Tensor, offsets: list[int], sizes: list[int]) -> tuple[Tensor, Tensor]:
    contiguous = dict(memory_format=torch.contiguous_format)
    return torch.empty_like(x, **contiguous), torch.empty_like(weights, **contiguous)


def _setup_context(ctx, inputs: tuple, output: Tensor) -> None:
    x, weights, *ctx.windows, _ = inputs
    ctx.save_for_backward(x, weights)


def _backward(ctx, grad_out: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
    grads = torch.ops.mmrobust.weighted_avg_pool_backward(grad_out, *ctx.saved_tensors, *ctx.windows)
    return *grads, None, None, None


_weighted_avg_pool.register_autograd(_backward, setup_context=_setup_context)


def _flat(windows: tuple[Window, ...]) -> tuple[list[int], list[int]]:
    """All offsets, and how many each window has: operators take no nested lists."""
    return [offset for window in windows for offset in window], [len(window) for window in windows]


def _nested(offsets: list[int], sizes: list[int]) -> tuple[Window, ...]:
    """The inverse of :func:`_flat`."""
    rest = iter(offsets)
    return tuple(tuple(islice(rest, size)) for size in sizes)
