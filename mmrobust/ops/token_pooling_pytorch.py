"""Weighted pooling in PyTorch's own operators, in two forms that compute the same.

``IN_BLOCKS`` is for eager mode: on a CPU it takes some channels at a time, so that their sums stay in the cache. A box
average is the same for all channels and separable, so it is a sum of shifted rows and then of shifted columns.

``FUSED`` is for ``torch.compile``, which fuses it: every neighbour is read where it is needed. Nothing is done in
place, so a trace of it can be differentiated.
"""

# B batch, H W token grid, C channels, K branches (windows)

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Entries of a block of channels that stay in a CPU core's cache together with their sums, and its fewest channels.
_BLOCK_ENTRIES = 2**18
_MIN_CHANNELS = 16

Windows = Sequence[tuple[int, ...]]


class Form(NamedTuple):
    """One way to pool.

    Attributes:
        pool: ``pool(x, shares, windows, dtype)``, the sum over branches of ``share_k * sum of x over window_k``. ``x``
            is ``(B, H, W, C)``, shares are K times ``(B, H, W, 1)``, float32 at least, windows are symmetric around 0.
            The result ``(B, H, W, C)`` has the dtype.
        pool_backward: ``pool_backward(grad_out, x, shares, windows)``, the gradients of ``x`` and of each share.
    """

    pool: Callable[[Tensor, Sequence[Tensor], Windows, torch.dtype], Tensor]
    pool_backward: Callable[[Tensor, Tensor, Sequence[Tensor], Windows], tuple[Tensor, list[Tensor]]]


def _pool_in_blocks(x: Tensor, shares: Sequence[Tensor], windows: Windows, dtype: torch.dtype) -> Tensor:
    out = torch.empty_like(x, dtype=dtype)
    for channels in _blocks(x):
        padded = _padded_tokens(x[..., channels], windows)
        total, pooled = torch.empty(2, *out[..., channels].shape, dtype=padded.dtype, device=x.device)
        total.zero_()
        for share, window in zip(shares, windows, strict=True):
            total.addcmul_(_window_sum(padded, window, pooled), share)
        out[..., channels] = total
    return out


def _pool_in_blocks_backward(
    grad_out: Tensor, x: Tensor, shares: Sequence[Tensor], windows: Windows
) -> tuple[Tensor, list[Tensor]]:
    height, width = x.shape[1:3]
    grad_x = torch.empty_like(x)
    grad_shares = [torch.zeros_like(share) for share in shares]
    for channels in _blocks(x):
        padded = _padded_tokens(x[..., channels], windows)
        grad = grad_out[..., channels].to(padded.dtype).contiguous()
        shared = torch.zeros_like(padded)
        reach = max(map(max, windows))
        inner = shared[:, reach : reach + height, reach : reach + width]
        total, pooled = torch.empty(2, *grad.shape, dtype=grad.dtype, device=grad.device)
        total.zero_()
        for share, grad_share, window in zip(shares, grad_shares, windows, strict=True):
            # windows are symmetric, so a sum over one is its own adjoint
            torch.mul(grad, share, out=inner)
            total += _window_sum(shared, window, pooled)
            grad_share += torch.mul(_window_sum(padded, window, pooled), grad, out=pooled).sum(-1, keepdim=True)
        grad_x[..., channels] = total
    return grad_x, grad_shares


def _blocks(x: Tensor) -> list[slice]:
    size = x.size(-1)
    if x.device.type == 'cpu':
        size = max(_MIN_CHANNELS, _BLOCK_ENTRIES * x.size(-1) // max(1, x.numel()))
    return [slice(start, start + size) for start in range(0, x.size(-1), size)]


def _padded_tokens(x: Tensor, windows: Windows) -> Tensor:
    """``x`` in float32 at least, between as many zeros on both token axes as the windows reach."""
    reach = max(map(max, windows))
    return F.pad(x.to(torch.promote_types(x.dtype, torch.float32)), (0, 0, reach, reach, reach, reach))


def _window_sum(padded: Tensor, window: tuple[int, ...], out: Tensor) -> Tensor:
    """The sum over ``window`` x ``window``, shape of ``out``, which may be overwritten."""
    columns = padded.new_empty(*padded.shape[:2], *out.shape[2:])
    return _shifted_sum(_shifted_sum(padded, window, 2, columns), window, 1, out)


def _shifted_sum(padded: Tensor, window: tuple[int, ...], dim: int, out: Tensor) -> Tensor:
    margin = (padded.size(dim) - out.size(dim)) // 2
    first, *others = (padded.narrow(dim, margin + offset, out.size(dim)) for offset in window)
    if not others:
        return first
    torch.add(first, others[0], out=out)
    for other in others[1:]:
        out += other
    return out


def _pool_fused(x: Tensor, shares: Sequence[Tensor], windows: Windows, dtype: torch.dtype) -> Tensor:
    padded = _padded_tokens(x, windows)
    return sum(
        _neighbours_sum(padded, window, windows) * share for share, window in zip(shares, windows, strict=True)
    ).to(dtype)


def _pool_fused_backward(
    grad_out: Tensor, x: Tensor, shares: Sequence[Tensor], windows: Windows
) -> tuple[Tensor, list[Tensor]]:
    padded = _padded_tokens(x, windows)
    # windows are symmetric, so a sum over one is its own adjoint
    grad_x = sum(
        _neighbours_sum(_padded_tokens(grad_out * share, windows), window, windows)
        for share, window in zip(shares, windows, strict=True)
    )
    grad_shares = [(grad_out * _neighbours_sum(padded, window, windows)).sum(-1, keepdim=True) for window in windows]
    return grad_x.to(x.dtype), grad_shares


def _neighbours_sum(padded: Tensor, window: tuple[int, ...], windows: Windows) -> Tensor:
    reach = max(map(max, windows))
    height, width = padded.size(1) - 2 * reach, padded.size(2) - 2 * reach
    return sum(
        padded[:, reach + dy : reach + dy + height, reach + dx : reach + dx + width] for dy in window for dx in window
    )


IN_BLOCKS = Form(_pool_in_blocks, _pool_in_blocks_backward)
FUSED = Form(_pool_fused, _pool_fused_backward)
