"""Weighted pooling on a GPU, in Triton: no padded copy, no pooled map; every neighbour is read where it is needed.

A program takes a few rows of a tile of tokens x channels. The sum over a window's columns serves all of these rows that
the window reaches: the code asks for it again for each, and the compiler, which sees all rows at once, makes it once.

Checked in Triton's interpreter against the plain formula, and compiled for sm_80 and sm_90. Not yet run on a GPU.
"""

# B batch, H W token grid, C channels, K branches (windows)
# ruff: noqa: N803 - a kernel's constants are in capitals, as is the custom

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# A program takes rows x tokens x bytes of channels: 16 bytes of a token for each thread. More rows read less and add
# less, but need more registers.
_ROWS = 4
_TOKENS = 8
_CHANNEL_BYTES = 256
_NUM_WARPS = 4


def pool(x: Tensor, shares: Sequence[Tensor], windows: Sequence[tuple[int, ...]]) -> Tensor:
    """As :func:`mmrobust.ops.token_pooling_blocks.pool`, for ``x`` of one of ``DTYPES`` and shares in float32."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    _launch(_pool, windows, x.contiguous(), torch.cat(tuple(shares), -1), out, ADJOINT=False)
    return out


def pool_backward(
    grad_out: Tensor, x: Tensor, shares: Sequence[Tensor], windows: Sequence[tuple[int, ...]]
) -> tuple[Tensor, list[Tensor]]:
    """As :func:`mmrobust.ops.token_pooling_blocks.pool_backward`. Nothing is added atomically."""
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    x, grad_out = x.contiguous(), grad_out.contiguous()
    _launch(_pool, windows, grad_out, torch.cat(tuple(shares), -1), grad_x, ADJOINT=True)
    # each block of channels writes a sum of its own
    num_blocks = triton.cdiv(x.size(-1), _tile(x)['CHANNELS'])
    grad_shares = torch.empty(num_blocks, *x.shape[:-1], len(windows), dtype=torch.float32, device=x.device)
    _launch(_grad_shares, windows, x, grad_out, grad_shares)
    return grad_x, list(grad_shares.sum(0).split(1, dim=-1))


def _tile(x: Tensor) -> dict[str, int]:
    return dict(ROWS=_ROWS, TOKENS=_TOKENS, CHANNELS=_CHANNEL_BYTES // x.element_size())


def _launch(
    kernel: triton.JITFunction, windows: Sequence[tuple[int, ...]], x: Tensor, *others: Tensor, **options: bool
) -> None:
    num_programs = x.size(0) * math.prod(map(triton.cdiv, x.shape[1:], _tile(x).values()))
    options = dict(options, WINDOWS=tuple(map(tuple, windows)), **_tile(x), num_warps=_NUM_WARPS)
    if num_programs:
        kernel[(num_programs,)](x, *others, *x.shape[1:], **options)


@triton.jit
def _pool(
    x,  # (B, H, W, C)
    shares,  # (B, H, W, K)
    out,  # (B, H, W, C)
    height,
    width,
    channels,
    WINDOWS: tl.constexpr,
    ADJOINT: tl.constexpr,  # a token takes along its own shares: windows are symmetric
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    size, size_shares = (height, width, channels), (height, width, len(WINDOWS))
    image, row, column, channel = _place(size, ROWS, TOKENS, CHANNELS)
    totals = ()
    for y in tl.static_range(ROWS):
        total = tl.zeros((TOKENS, CHANNELS), tl.float32)
        for k in tl.static_range(len(WINDOWS)):
            pooled = _row_sum(x, shares, image, row + y + WINDOWS[k][0], column, channel, size, k, WINDOWS, ADJOINT)
            for i in tl.static_range(1, len(WINDOWS[k])):
                source = row + y + WINDOWS[k][i]
                pooled += _row_sum(x, shares, image, source, column, channel, size, k, WINDOWS, ADJOINT)
            if ADJOINT:
                total += pooled
            else:
                total += pooled * _read(shares, image, row + y, column, k, size_shares)[:, None]
        totals = totals + (total,)  # noqa: RUF005
    # not before: after a write the compiler would read again what it has
    for y in tl.static_range(ROWS):
        _write(out, totals[y], image, row + y, column[:, None], channel, size)


@triton.jit
def _grad_shares(
    x,  # (B, H, W, C)
    grad_out,  # (B, H, W, C)
    grad_shares,  # (blocks of channels, B, H, W, K)
    height,
    width,
    channels,
    WINDOWS: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    size, size_shares = (height, width, channels), (height, width, len(WINDOWS))
    image, row, column, channel = _place(size, ROWS, TOKENS, CHANNELS)
    images = tl.num_programs(0) // (tl.cdiv(height, ROWS) * tl.cdiv(width, TOKENS) * tl.cdiv(channels, CHANNELS))
    sums = ()
    for y in tl.static_range(ROWS):
        grad = _read(grad_out, image, row + y, column[:, None], channel, size)
        for k in tl.static_range(len(WINDOWS)):
            pooled = _row_sum(x, x, image, row + y + WINDOWS[k][0], column, channel, size, k, WINDOWS, False)
            for i in tl.static_range(1, len(WINDOWS[k])):
                source = row + y + WINDOWS[k][i]
                pooled += _row_sum(x, x, image, source, column, channel, size, k, WINDOWS, False)
            sums = sums + (tl.sum(pooled * grad, 1),)  # noqa: RUF005
    block = tl.program_id(0) % tl.cdiv(channels, CHANNELS)
    for y in tl.static_range(ROWS):
        for k in tl.static_range(len(WINDOWS)):
            place = block * images + image
            _write(grad_shares, sums[y * len(WINDOWS) + k], place, row + y, column, k, size_shares)


@triton.jit
def _row_sum(x, shares, image, row, column, channel, size, k, WINDOWS: tl.constexpr, WEIGHTED: tl.constexpr):
    """The sum over the columns of window k in one row of ``x``, or of ``x`` times its share of branch k."""
    total = _neighbour(x, shares, image, row, column + WINDOWS[k][0], channel, size, k, len(WINDOWS), WEIGHTED)
    for i in tl.static_range(1, len(WINDOWS[k])):
        shifted = column + WINDOWS[k][i]
        total += _neighbour(x, shares, image, row, shifted, channel, size, k, len(WINDOWS), WEIGHTED)
    return total


@triton.jit
def _neighbour(x, shares, image, row, column, channel, size, k, NUM_SHARES: tl.constexpr, WEIGHTED: tl.constexpr):
    values = _read(x, image, row, column[:, None], channel, size)
    if WEIGHTED:
        values *= _read(shares, image, row, column, k, (size[0], size[1], NUM_SHARES))[:, None]
    return values


@triton.jit
def _place(size, ROWS: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr):
    """What this program takes: image and first row, columns ``(TOKENS,)``, channels ``(1, CHANNELS)``."""
    height, width, channels = size
    program, block = _divmod(tl.program_id(0), tl.cdiv(channels, CHANNELS))
    program, tile = _divmod(program, tl.cdiv(width, TOKENS))
    image, strip = _divmod(program, tl.cdiv(height, ROWS))
    column = tile * TOKENS + tl.arange(0, TOKENS)
    channel = block * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    return image, strip * ROWS, column, channel


@triton.jit
def _divmod(number, divisor):
    return number // divisor, number % divisor


@triton.jit
def _read(x, image, row, column, channel, size):
    """In float32, and zero outside the map."""
    offset, inside = _offset(image, row, column, channel, size)
    return tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _write(x, values, image, row, column, channel, size):
    offset, inside = _offset(image, row, column, channel, size)
    tl.store(x + offset, values.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _offset(image, row, column, channel, size):
    height, width, channels = size
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (channel < channels)
    # a batch may hold more than 2^31 entries, a row of it does not
    start = (image.to(tl.int64) * height + row) * width * channels
    return start + (column * channels + channel), inside
