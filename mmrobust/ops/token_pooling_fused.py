"""Weighted pooling for ``torch.compile``, which fuses it: every neighbour is read where it is needed."""

# B batch, H W token grid, C channels, K branches (windows)

from collections.abc import Sequence

import torch
from torch import Tensor

from mmrobust.ops.token_pooling_blocks import padded_tokens


def pool(x: Tensor, shares: Sequence[Tensor], windows: Sequence[tuple[int, ...]], dtype: torch.dtype) -> Tensor:
    """As :func:`mmrobust.ops.token_pooling_blocks.pool`."""
    padded = padded_tokens(x, windows)
    return sum(_window_sum(padded, window, windows) * share for share, window in zip(shares, windows, strict=True)).to(
        dtype
    )


def pool_backward(
    grad_out: Tensor, x: Tensor, shares: Sequence[Tensor], windows: Sequence[tuple[int, ...]]
) -> tuple[Tensor, list[Tensor]]:
    """As :func:`mmrobust.ops.token_pooling_blocks.pool_backward`."""
    padded = padded_tokens(x, windows)
    # windows are symmetric, so a sum over one is its own adjoint
    grad_x = sum(
        _window_sum(padded_tokens(grad_out * share, windows), window, windows)
        for share, window in zip(shares, windows, strict=True)
    )
    grad_shares = [(grad_out * _window_sum(padded, window, windows)).sum(-1, keepdim=True) for window in windows]
    return grad_x.to(x.dtype), grad_shares


def _window_sum(padded: Tensor, window: tuple[int, ...], windows: Sequence[tuple[int, ...]]) -> Tensor:
    reach = max(map(max, windows))
    height, width = padded.size(1) - 2 * reach, padded.size(2) - 2 * reach
    return sum(
        padded[:, reach + dy : reach + dy + height, reach + dx : reach + dx + width] for dy in window for dx in window
    )
