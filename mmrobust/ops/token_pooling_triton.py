"""Weighted pooling on a GPU, in Triton: no padded copy, no pooled map; every neighbour is read where it is needed.

A program takes a few rows of a tile of tokens x channels. The sum over a window's columns serves all of these rows that
the window reaches: the code asks for it again for each, and the compiler, which sees all rows at once, makes it once.
"""

# B batch, H W token grid, C channels, K branches (windows)
# ruff: noqa: N803 - a kernel's constants are in capitals, as is the custom

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

# A program takes rows x tokens x bytes of channels: 16 bytes of a token for each thread. More rows read less and add
# less, but need more registers; four rows of eight tokens were as fast on an H100, and take twice as long to compile.
_ROWS = 2
_TOKENS = 16
_CHANNEL_BYTES = 128
_NUM_WARPS = 4


def pool(x: Tensor, weights: Tensor, windows: Sequence[tuple[int, ...]], dtype: torch.dtype) -> Tensor:
    """Sum over branches of ``weights_k * mean of x over window_k``.

    Args:
        x: ``(B, H, W, C)``, float32, bfloat16 or float16.
        weights: ``(B, H, W, K)``.
        windows: K windows, symmetric around 0.
        dtype: of the result.

    Returns:
        ``(B, H, W, C)``, contiguous; summed in float32.
    """
    out = torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format)
    _launch(_pool, windows, x.contiguous(), weights.contiguous(), out, ADJOINT=False)
    return out


def pool_backward(
    grad_out: Tensor, x: Tensor, weights: Tensor, windows: Sequence[tuple[int, ...]]
) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`pool`, contiguous, of ``x`` and of ``weights``. Nothing is added atomically."""
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    x, grad_out, weights = x.contiguous(), grad_out.contiguous(), weights.contiguous()
    _launch(_pool, windows, grad_out, weights, grad_x, ADJOINT=True)
    # each block of channels writes a sum of its own
    num_blocks = triton.cdiv(x.size(-1), _tile(x)['CHANNELS'])
    grad_weights = torch.empty(num_blocks, *weights.shape, dtype=torch.float32, device=x.device)
    _launch(_grad_weights, windows, x, grad_out, grad_weights)
    return grad_x, grad_weights.sum(0).to(weights.dtype)


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
    weights,  # (B, H, W, K)
    out,  # (B, H, W, C)
    height,
    width,
    channels,
    WINDOWS: tl.constexpr,
    ADJOINT: tl.constexpr,  # a token takes along its own weights: windows are symmetric
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    size, size_weights = (height, width, channels), (height, width, len(WINDOWS))
    image, row, column, channel = _place(size, ROWS, TOKENS, CHANNELS)
    totals = ()
    for y in tl.static_range(ROWS):
        total = tl.zeros((TOKENS, CHANNELS), tl.float32)
        for k in tl.static_range(len(WINDOWS)):
            pooled = _row_sum(x, weights, image, row + y + WINDOWS[k][0], column, channel, size, k, WINDOWS, ADJOINT)
            for i in tl.static_range(1, len(WINDOWS[k])):
                source = row + y + WINDOWS[k][i]
                pooled += _row_sum(x, weights, image, source, column, channel, size, k, WINDOWS, ADJOINT)
            pooled /= len(WINDOWS[k]) * len(WINDOWS[k])
            if ADJOINT:
                total += pooled
            else:
                total += pooled * _read(weights, image, row + y, column, k, size_weights)[:, None]
        totals = totals + (total,)  # noqa: RUF005
    # not before: after a write the compiler would read again what it has
    for y in tl.static_range(ROWS):
        _write(out, totals[y], image, row + y, column[:, None], channel, size)


@triton.jit
def _grad_weights(
    x,  # (B, H, W, C)
    grad_out,  # (B, H, W, C)
    grad_weights,  # (blocks of channels, B, H, W, K)
    height,
    width,
    channels,
    WINDOWS: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    size, size_weights = (height, width, channels), (height, width, len(WINDOWS))
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
            sums = sums + (tl.sum(pooled * grad, 1) / (len(WINDOWS[k]) * len(WINDOWS[k])),)  # noqa: RUF005
    block = tl.program_id(0) % tl.cdiv(channels, CHANNELS)
    for y in tl.static_range(ROWS):
        for k in tl.static_range(len(WINDOWS)):
            place = block * images + image
            _write(grad_weights, sums[y * len(WINDOWS) + k], place, row + y, column, k, size_weights)


@triton.jit
def _row_sum(x, weights, image, row, column, channel, size, k, WINDOWS: tl.constexpr, WITH_WEIGHTS: tl.constexpr):
    """The sum over the columns of window k in one row of ``x``, or of ``x`` times its weight of branch k."""
    total = _neighbour(x, weights, image, row, column + WINDOWS[k][0], channel, size, k, len(WINDOWS), WITH_WEIGHTS)
    for i in tl.static_range(1, len(WINDOWS[k])):
        shifted = column + WINDOWS[k][i]
        total += _neighbour(x, weights, image, row, shifted, channel, size, k, len(WINDOWS), WITH_WEIGHTS)
    return total


@triton.jit
def _neighbour(x, weights, image, row, column, channel, size, k, NUM_WEIGHTS: tl.constexpr, WITH_WEIGHTS: tl.constexpr):
    values = _read(x, image, row, column[:, None], channel, size)
    if WITH_WEIGHTS:
        values *= _read(weights, image, row, column, k, (size[0], size[1], NUM_WEIGHTS))[:, None]
    return values


@triton.jit
def _place(size, ROWS: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr):
    """Block of this program: image and first row, columns ``(TOKENS,)``, channels ``(1, CHANNELS)``."""
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
