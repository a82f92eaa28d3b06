"""ADL and its gradients on a GPU, in Triton: the heads' mean map is kept, for as long as a layer runs forward.

Attention averages its heads before ADL looks at it. That one map of an image, ``(Nq, Nk)`` in bfloat16, is what all
heads have in common. So nothing has to be computed head by head twice:

1. ``_mean_maps``: for a tile of the map, ``exp(q k - lse)`` summed over the heads; what is dropped is stored as 0.
2. ``_column_sums``: one pass over the map adds up its rows, and its rows divided by their norms.
3. ``_losses``: the loss is a function of these sums. The gradients are too, but for the factor that comes in with the
   backward pass: so the sums are turned into their gradients, in place.
4. ``_grad_maps``: one pass that turns the map into the gradient ``G`` of its entries, in place.
5. ``_grad_query``: as in a backward pass of flash attention, ``sum_j P_ij G_ij k_j - r_i sum_j P_ij k_j``, where the
   softmax subtracts ``r_i = sum_j P_ij G_ij``: one loop over the keys gathers all three sums.
6. ``_grad_key``: ``sum_i P_ij (G_ij - r_i) q_i``.

That is 6 matrix products of the size of ``query @ key^T``, where attention itself takes 2 forward and 5 backward. A
backward pass that began from nothing would need a seventh, for the map. No sum is made by atomic additions, so results
do not vary from run to run. Products are made in the dtype of query and key, sums and softmax in float32. A product of
float32 takes three of TF32, which together are as exact as float32.
"""

# B batch, H heads, G groups of heads (1: averaged, H: each its own), N tokens, D channels per head, M = B * G maps

# ruff: noqa: N803 - a kernel's constants are in capitals, as is the custom

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

# All maps that exist at once, in bytes.
_BYTES_OF_MAPS = 2**29
# Of a grid's second and third axis, by CUDA.
_MAX_PROGRAMS = 65535
_LOG2_E = tl.constexpr(1.4426950408889634)
# Arguments for whose values, such as 1 or a multiple of 16, Triton shall not compile once more: that takes seconds, and
# what the compiler must know of them is in _Form.
_PLACES = ('first', *(f'{tensor}_{axis}' for tensor in ('query', 'key', 'grad') for axis in ('image', 'head', 'token')))


class _Tile(NamedTuple):
    """Block sizes of a program, and Triton's launch options."""

    rows: int
    columns: int
    num_warps: int
    num_stages: int
    maxnreg: int | None = None  # registers of a thread, so that two or three programs share a multiprocessor

    @property
    def options(self) -> dict[str, int | None]:
        names = dict(ROWS=self.rows, COLUMNS=self.columns, num_warps=self.num_warps, num_stages=self.num_stages)
        return names if self.maxnreg is None else names | {'maxnreg': self.maxnreg}


# Measured on an H100 with 8 heads of 56 channels in bfloat16; the second is for rows of query and key of more than 128
# bytes: what fits into 99 KiB of shared memory.
_TILES = {
    '_mean_maps': (_Tile(128, 64, 8, 2, 128), _Tile(64, 32, 4, 2)),
    '_grad_query': (_Tile(64, 64, 4, 3), _Tile(64, 32, 4, 2)),
    '_grad_key': (_Tile(64, 64, 4, 2), _Tile(32, 64, 4, 2)),
}
_COLUMN_SUMS = _Tile(256, 32, 4, 2)
_LOSSES = _Tile(1, 4096, 8, 1)
_GRAD_MAPS = _Tile(2, 2048, 4, 2)


class _Form(NamedTuple):
    """Settings that the kernels are compiled for."""

    groups: int
    heads: int  # of a group
    dim: int
    block_dim: int
    unit: int  # strides are given in multiples of it: what the compiler must know to read 16 bytes at once


class _Layer(NamedTuple):
    """Operands of one layer, and which entries of its maps are kept."""

    query: Tensor
    key: Tensor
    lse: Tensor
    threshold: float
    mode: str
    form: _Form

    @property
    def official(self) -> bool:
        return self.mode == 'official'


def diversification(
    query: Tensor,
    key: Tensor,
    lse: Tensor,
    threshold: float,
    mode: str,
    per_head: bool,
    grads: Sequence[Tensor] | None,
) -> Tensor:
    """ADL, and its gradients of query and key.

    Args:
        query: ``(B, H, Nq, D)``, scaled, D at most 128.
        key: ``(B, H, Nk, D)``, of the same dtype: float32, bfloat16 or float16.
        lse: ``(B, H, Nq)`` float32, logarithm of the softmax's normalizer.
        threshold: what an entry of a map must reach, in ``'official'`` mode exceed.
        mode, per_head: as in :func:`~mmrobust.ops.attention_diversification`.
        grads: memory for the gradients, like query and key; channels lie side by side. None makes none.

    Returns:
        The loss, a scalar in float32.
    """
    query, key, form = _prepare(query, key, per_head)
    layer = _Layer(query, key, lse.contiguous(), threshold, mode, form)
    losses = torch.empty(query.size(0) * form.groups, dtype=torch.float32, device=query.device)
    for first, maps in _chunks(query, key, losses.numel()):
        square_norms, sums = _sums(layer, first, maps)
        _losses[(len(maps),)](
            *sums,
            square_norms,
            losses[first:],
            *maps.shape[1:],
            threshold * maps.size(1),
            _share(losses.numel() * maps.size(1), maps.size(1), mode),
            MODE=mode,
            WITH_GRADIENTS=grads is not None,
            COLUMNS=_LOSSES.columns,
            num_warps=_LOSSES.num_warps,
        )
        if grads is not None:
            _gradients(layer, first, maps, square_norms, *sums, grads)
    return losses.sum()


def _share(num_rows: int, rows_of_map: int, mode: str) -> float:
    """Of one row in the mean over all, or in pairwise mode of one pair of rows."""
    return 1 / (num_rows * max(1, rows_of_map - 1) if mode == 'pairwise' else num_rows)


def _sums(layer: _Layer, first: int, maps: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Write the kept entries of maps ``first`` and following.

    Returns:
        ``(maps, Nq)``, the squared norms of the rows; and twice ``(maps, Nk)``: the sum of the rows, and that of the
        rows divided by their norms.
    """
    query, key, lse, threshold, _, form = layer
    num_maps, num_queries, num_keys = maps.shape
    float32 = dict(dtype=torch.float32, device=query.device)
    tile = _tile('_mean_maps', form, query)
    grid = triton.cdiv(num_queries, tile.rows), triton.cdiv(num_keys, 2 * tile.columns), num_maps
    # each block of columns or of rows leaves a sum of its own
    square_norms = torch.empty(grid[1], num_maps, num_queries, **float32)
    whole_rows = torch.empty(grid[0], num_maps, num_keys, **float32) if layer.official else None
    _mean_maps[grid](
        query,
        key,
        lse,
        maps,
        square_norms,
        whole_rows,
        first,
        num_queries,
        num_keys,
        maps.stride(1),
        threshold,
        *_strides(query, form),
        *_strides(key, form),
        FORM=form,
        STRICT=layer.official,
        **tile.options,
    )
    square_norms = square_norms.sum(0)
    row_sum = torch.empty(num_maps, num_keys, **float32) if whole_rows is None else whole_rows.sum(0)
    direction_sum = torch.empty(num_maps, num_keys, **float32)
    _column_sums[triton.cdiv(num_keys, _COLUMN_SUMS.columns), num_maps](
        maps,
        square_norms,
        row_sum,
        direction_sum,
        num_queries,
        num_keys,
        maps.stride(1),
        OF_KEPT=whole_rows is None,
        **_COLUMN_SUMS.options,
    )
    return square_norms, (row_sum, direction_sum)


def _gradients(
    layer: _Layer,
    first: int,
    maps: Tensor,
    square_norms: Tensor,
    grad_row_sum: Tensor,
    grad_direction_sum: Tensor,
    grads: Sequence[Tensor],
) -> None:
    """Write the gradients of query and key of maps ``first`` and following, which are overwritten."""
    query, key, lse, *_, form = layer
    num_maps, num_queries, num_keys = maps.shape
    _grad_maps[triton.cdiv(num_queries, _GRAD_MAPS.rows), num_maps](
        maps,
        square_norms,
        grad_row_sum,
        grad_direction_sum,
        num_queries,
        num_keys,
        maps.stride(1),
        SUM_ALL=layer.official,
        HEADS=form.heads,
        **_GRAD_MAPS.options,
    )
    row_sums = torch.empty_like(lse)
    sizes = (first, num_queries, num_keys, maps.stride(1), *_strides(query, form), *_strides(key, form))
    tile_of_query, tile_of_key = (_tile(name, form, query) for name in ('_grad_query', '_grad_key'))
    # heads first: those of the same rows run at the same time and read the same part of G
    for kernel, grad, tile, blocks in (
        (_grad_query, grads[0], tile_of_query, triton.cdiv(num_queries, tile_of_query.rows)),
        (_grad_key, grads[1], tile_of_key, triton.cdiv(num_keys, tile_of_key.columns)),
    ):
        kernel[form.heads, blocks, num_maps](
            query,
            key,
            lse,
            maps,
            row_sums,
            grad,
            *sizes,
            *_strides(grad, form),
            FORM=form,
            EVEN=num_queries % tile.rows == 0 and num_keys % tile.columns == 0,
            **tile.options,
        )


def log_sum_exp(query: Tensor, key: Tensor) -> Tensor:
    """Logarithm of the softmax's normalizer, ``(B, H, Nq)`` float32, for arguments as in :func:`forward`."""
    query, key, form = _prepare(query, key, per_head=True)
    lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
    tile = _tile('_grad_query', form, query)
    num_maps = query.size(0) * form.groups
    for first in range(0, num_maps, _MAX_PROGRAMS):
        count = min(_MAX_PROGRAMS, num_maps - first)
        _log_sum_exp[triton.cdiv(query.size(2), tile.rows), count](
            query,
            key,
            lse,
            first,
            query.size(2),
            key.size(2),
            *_strides(query, form),
            *_strides(key, form),
            FORM=form,
            **tile.options,
        )
    return lse


def _prepare(query: Tensor, key: Tensor, per_head: bool) -> tuple[Tensor, Tensor, _Form]:
    query, key = (tokens if tokens.stride(-1) == 1 else tokens.contiguous() for tokens in (query, key))
    heads, dim = query.size(1), query.size(3)
    groups = heads if per_head else 1
    aligned = all(stride % 8 == 0 for tokens in (query, key) for stride in tokens.stride()[:3]) and dim % 8 == 0
    block_dim = max(16, triton.next_power_of_2(dim))
    return query, key, _Form(groups, heads // groups, dim, block_dim, 8 if aligned else 1)


def _strides(tokens: Tensor, form: _Form) -> tuple[int, ...]:
    return tuple(stride // form.unit for stride in tokens.stride()[:3])


def _tile(kernel: str, form: _Form, query: Tensor) -> _Tile:
    narrow, wide = _TILES[kernel]
    return narrow if form.block_dim * query.element_size() <= 128 else wide


def _chunks(query: Tensor, key: Tensor, num_maps: int) -> Iterator[tuple[int, Tensor]]:
    """The first map of each chunk, and memory ``(maps, Nq, Nk)`` for them: the same for all chunks.

    Rows begin at a multiple of 16 bytes. Gradients need the range of float32, so two bytes mean bfloat16.
    """
    dtype = torch.float32 if query.dtype == torch.float32 else torch.bfloat16
    num_queries, num_keys = query.size(2), key.size(2)
    row = triton.cdiv(num_keys, 16) * 16
    at_once = max(1, min(num_maps, _MAX_PROGRAMS, _BYTES_OF_MAPS // max(1, num_queries * row * dtype.itemsize)))
    memory = torch.empty(at_once, num_queries, row, dtype=dtype, device=query.device)[..., :num_keys]
    for first in range(0, num_maps, at_once):
        yield first, memory[: min(at_once, num_maps - first)]


@triton.jit(do_not_specialize=_PLACES)
def _mean_maps(
    query,
    key,
    lse,  # (B, H, Nq)
    maps,  # (maps, Nq, Nk)
    square_norms,  # (blocks of columns, maps, Nq)
    whole_rows,  # (blocks of rows, maps, Nk), or None
    first,  # of all M maps, the one that is the first of maps
    num_queries,
    num_keys,
    stride_row,
    threshold,
    query_image,
    query_head,
    query_token,
    key_image,
    key_head,
    key_token,
    FORM: tl.constexpr,
    STRICT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,  # of each of a program's two tiles, which share the queries
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    left = tl.program_id(1) * (2 * COLUMNS) + tl.arange(0, COLUMNS)
    right = left + COLUMNS
    one = tl.program_id(2).to(tl.int64)
    image, head = (first + one) // FORM.groups, (first + one) % FORM.groups * FORM.heads
    mean_left = tl.full((ROWS, COLUMNS), 0.0, tl.float32)
    mean_right = tl.full((ROWS, COLUMNS), 0.0, tl.float32)
    for _ in range(FORM.heads):
        queries = _tokens(query, image, head, row, num_queries, query_image, query_head, query_token, FORM)
        row_lse = _of_rows(lse, image * FORM.groups * FORM.heads + head, row, num_queries, float('inf')) * _LOG2_E
        keys = _tokens(key, image, head, left, num_keys, key_image, key_head, key_token, FORM)
        mean_left += tl.exp2(_dot(queries, tl.trans(keys)) * _LOG2_E - row_lse[:, None])
        keys = _tokens(key, image, head, right, num_keys, key_image, key_head, key_token, FORM)
        mean_right += tl.exp2(_dot(queries, tl.trans(keys)) * _LOG2_E - row_lse[:, None])
        head += 1
    entries = maps + one * num_queries * stride_row
    of_rows = None if whole_rows is None else whole_rows + (tl.program_id(0) * tl.num_programs(2) + one) * num_keys
    square = _keep(mean_left, entries, of_rows, row, left, num_queries, num_keys, stride_row, threshold, FORM, STRICT)
    square += _keep(
        mean_right, entries, of_rows, row, right, num_queries, num_keys, stride_row, threshold, FORM, STRICT
    )
    place = (tl.program_id(1) * tl.num_programs(2) + one) * num_queries + row
    tl.store(square_norms + place, square, mask=row < num_queries)


@triton.jit
def _keep(
    total,
    entries,
    of_rows,
    row,
    column,
    num_queries,
    num_keys,
    stride_row,
    threshold,
    FORM: tl.constexpr,
    STRICT: tl.constexpr,
):
    """Store what is kept of a tile, which is summed over heads, and its sums over rows; return the rows' squares."""
    mean = tl.where(column[None, :] < num_keys, total / FORM.heads, 0.0)
    if of_rows is not None:
        tl.store(of_rows + column, tl.sum(mean, 0), mask=column < num_keys)
    dropped = mean <= threshold if STRICT else mean < threshold
    kept = tl.where(dropped, 0.0, mean).to(entries.dtype.element_ty)
    inside = (row[:, None] < num_queries) & (column[None, :] < num_keys)
    tl.store(entries + (row[:, None] * stride_row + column[None, :]), kept, mask=inside)
    rounded = kept.to(tl.float32)
    return tl.sum(rounded * rounded, 1)


@triton.jit
def _column_sums(
    maps,  # (maps, Nq, Nk)
    square_norms,  # (maps, Nq)
    row_sum,  # (maps, Nk)
    direction_sum,  # (maps, Nk)
    num_queries,
    num_keys,
    stride_row,
    OF_KEPT: tl.constexpr,  # the first sum is of what is kept, else it is there already
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    one = tl.program_id(1).to(tl.int64)
    rows = tl.full((COLUMNS,), 0.0, tl.float32)
    directions = tl.full((COLUMNS,), 0.0, tl.float32)
    for start in range(0, num_queries, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row[:, None] < num_queries) & (column[None, :] < num_keys)
        kept = tl.load(_entries(maps, one, row, column, num_queries, stride_row), mask=inside, other=0.0)
        kept = kept.to(tl.float32)
        rows += tl.sum(kept, 0)
        directions += tl.sum(kept * _inv_norms(square_norms, one, row, num_queries)[:, None], 0)
    if OF_KEPT:
        tl.store(row_sum + one * num_keys + column, rows, mask=column < num_keys)
    tl.store(direction_sum + one * num_keys + column, directions, mask=column < num_keys)


@triton.jit
def _losses(
    row_sum,  # (maps, Nk), overwritten by its gradient
    direction_sum,  # (maps, Nk), overwritten by its gradient
    square_norms,  # (maps, Nq)
    losses,  # (maps,)
    num_queries,
    num_keys,
    threshold,  # of a sum of rows
    share,
    MODE: tl.constexpr,
    WITH_GRADIENTS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """With ``s`` the first sum, ``u = s / |s|`` and ``c`` the second one, a map's loss is ``share * c . u`` and has the
    gradients ``share * (c - (c . u) u) / |s|`` and ``share * u``; in pairwise mode it is ``share * (|c|^2 - rows)``.
    """
    one = tl.program_id(0).to(tl.int64)
    square = tl.full((COLUMNS,), 0.0, tl.float32)
    product = tl.full((COLUMNS,), 0.0, tl.float32)
    for start in range(0, num_keys, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        directions = _of_rows(direction_sum, one, column, num_keys, 0.0)
        mean = _mean(row_sum, one, column, num_keys, threshold, MODE) if MODE != 'pairwise' else directions
        square += mean * mean
        product += mean * directions
    if MODE == 'pairwise':
        active = tl.full((COLUMNS,), 0.0, tl.float32)
        for start in range(0, num_queries, COLUMNS):
            row = start + tl.arange(0, COLUMNS)
            active += tl.where(_of_rows(square_norms, one, row, num_queries, 0.0) > 0, 1.0, 0.0)
        tl.store(losses + one, share * (tl.sum(square) - tl.sum(active)))
    else:
        # a mean that is all zero has cosine 0, and no gradient; one that is not is far above the smallest number
        inv_norm = 1 / tl.sqrt(tl.maximum(tl.sum(square), 1.2e-38))
        cosine = tl.sum(product) * inv_norm
        tl.store(losses + one, share * cosine)
    if WITH_GRADIENTS:
        for start in range(0, num_keys, COLUMNS):
            column = start + tl.arange(0, COLUMNS)
            inside = column < num_keys
            of_rows, of_directions = row_sum + one * num_keys + column, direction_sum + one * num_keys + column
            directions = tl.load(of_directions, mask=inside, other=0.0)
            if MODE == 'pairwise':
                tl.store(of_rows, tl.full((COLUMNS,), 0.0, tl.float32), mask=inside)
                tl.store(of_directions, 2 * share * directions, mask=inside)
            else:
                mean = _mean(row_sum, one, column, num_keys, threshold, MODE)
                unit = mean * inv_norm
                grad = tl.where(mean > 0, share * inv_norm * (directions - cosine * unit), 0.0)
                tl.store(of_rows, grad, mask=inside)
                tl.store(of_directions, share * unit, mask=inside)


@triton.jit
def _mean(row_sum, one, column, num_keys, threshold, MODE: tl.constexpr):
    """The first sum, in official mode without what does not exceed the threshold."""
    total = _of_rows(row_sum, one, column, num_keys, 0.0)
    if MODE == 'official':
        total = tl.where(total > threshold, total, 0.0)
    return total


@triton.jit
def _grad_maps(
    maps,  # (maps, Nq, Nk)
    square_norms,  # (maps, Nq)
    grad_row_sum,  # (maps, Nk)
    grad_direction_sum,  # (maps, Nk)
    num_queries,
    num_keys,
    stride_row,
    SUM_ALL: tl.constexpr,
    HEADS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    one = tl.program_id(1).to(tl.int64)
    along = tl.full((ROWS,), 0.0, tl.float32)
    for start in range(0, num_keys, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = (row[:, None] < num_queries) & (column[None, :] < num_keys)
        kept = tl.load(_entries(maps, one, row, column, num_queries, stride_row), mask=inside, other=0.0)
        direction = _of_rows(grad_direction_sum, one, column, num_keys, 0.0)
        along += tl.sum(kept.to(tl.float32) * direction[None, :], 1)
    inv_norm = _inv_norms(square_norms, one, row, num_queries) / HEADS
    of_kept = -along * inv_norm * inv_norm * inv_norm * (HEADS * HEADS)
    for start in range(0, num_keys, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = (row[:, None] < num_queries) & (column[None, :] < num_keys)
        entries = _entries(maps, one, row, column, num_queries, stride_row)
        kept = tl.load(entries, mask=inside, other=0.0).to(tl.float32)
        direction = _of_rows(grad_direction_sum, one, column, num_keys, 0.0)
        by_row_sum = (_of_rows(grad_row_sum, one, column, num_keys, 0.0) / HEADS)[None, :]
        grad = inv_norm[:, None] * direction[None, :] + of_kept[:, None] * kept
        if not SUM_ALL:
            grad += by_row_sum
        grad = tl.where(kept > 0, grad, 0.0)
        if SUM_ALL:
            grad += by_row_sum
        tl.store(entries, grad.to(maps.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=_PLACES)
def _grad_query(
    query,
    key,
    lse,  # (B, H, Nq)
    grad_maps,  # (maps, Nq, Nk)
    row_sums,  # (B, H, Nq)
    grad,
    first,
    num_queries,
    num_keys,
    stride_row,
    query_image,
    query_head,
    query_token,
    key_image,
    key_head,
    key_token,
    grad_image,
    grad_head,
    grad_token,
    FORM: tl.constexpr,
    EVEN: tl.constexpr,  # tiles fill the map
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    one = tl.program_id(2).to(tl.int64)
    image, head = (first + one) // FORM.groups, (first + one) % FORM.groups * FORM.heads + tl.program_id(0)
    line = image * FORM.groups * FORM.heads + head
    queries = _tokens(query, image, head, row, num_queries, query_image, query_head, query_token, FORM)
    row_lse = _of_rows(lse, line, row, num_queries, float('inf')) * _LOG2_E
    weighted = tl.full((ROWS, FORM.block_dim), 0.0, tl.float32)
    attended = tl.full((ROWS, FORM.block_dim), 0.0, tl.float32)
    row_sum = tl.full((ROWS,), 0.0, tl.float32)
    column = tl.arange(0, COLUMNS)
    channel = tl.arange(0, FORM.block_dim)[None, :]
    key_tile = key + _places(image, head, column, key_image, key_head, key_token, FORM)
    grad_tile = _entries(grad_maps, one, row, column, num_queries, stride_row)
    for start in range(0, num_keys, COLUMNS):
        if EVEN:
            keys = tl.load(key_tile, mask=channel < FORM.dim, other=0.0)
            grads = tl.load(grad_tile)
        else:
            left = num_keys - start
            keys = tl.load(key_tile, mask=(column[:, None] < left) & (channel < FORM.dim), other=0.0)
            inside = (row[:, None] < num_queries) & (column[None, :] < left)
            grads = tl.load(grad_tile, mask=inside, other=0.0)
        probs = tl.exp2(_dot(queries, tl.trans(keys)) * _LOG2_E - row_lse[:, None])
        if not EVEN:  # a score of 0 outside the map may be far above all others, and its probability infinite
            probs = tl.where(column[None, :] < num_keys - start, probs, 0.0)
        grads = probs * grads.to(tl.float32)
        row_sum += tl.sum(grads, 1)
        weighted += _dot_gradient(grads, keys)
        attended += _dot_gradient(probs, keys)
        key_tile += COLUMNS * key_token * FORM.unit
        grad_tile += COLUMNS
    tl.store(row_sums + line * num_queries + row, row_sum, mask=row < num_queries)
    weighted -= row_sum[:, None] * attended
    _store(grad, weighted, image, head, row, num_queries, grad_image, grad_head, grad_token, FORM)


@triton.jit(do_not_specialize=_PLACES)
def _grad_key(
    query,
    key,
    lse,  # (B, H, Nq)
    grad_maps,  # (maps, Nq, Nk)
    row_sums,  # (B, H, Nq)
    grad,
    first,
    num_queries,
    num_keys,
    stride_row,
    query_image,
    query_head,
    query_token,
    key_image,
    key_head,
    key_token,
    grad_image,
    grad_head,
    grad_token,
    FORM: tl.constexpr,
    EVEN: tl.constexpr,  # tiles fill the map
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    one = tl.program_id(2).to(tl.int64)
    image, head = (first + one) // FORM.groups, (first + one) % FORM.groups * FORM.heads + tl.program_id(0)
    line = image * FORM.groups * FORM.heads + head
    keys = _tokens(key, image, head, column, num_keys, key_image, key_head, key_token, FORM)
    total = tl.full((COLUMNS, FORM.block_dim), 0.0, tl.float32)
    row = tl.arange(0, ROWS)
    channel = tl.arange(0, FORM.block_dim)[None, :]
    query_tile = query + _places(image, head, row, query_image, query_head, query_token, FORM)
    grad_tile = _entries(grad_maps, one, row, column, num_queries, stride_row)
    row_lse_tile = lse + line * num_queries + row
    row_sum_tile = row_sums + line * num_queries + row
    for start in range(0, num_queries, ROWS):
        if EVEN:
            queries = tl.load(query_tile, mask=channel < FORM.dim, other=0.0)
            grads = tl.load(grad_tile)
            row_lse = tl.load(row_lse_tile + start)
            row_sum = tl.load(row_sum_tile + start)
        else:
            left = num_queries - start
            queries = tl.load(query_tile, mask=(row[:, None] < left) & (channel < FORM.dim), other=0.0)
            inside = (row[:, None] < left) & (column[None, :] < num_keys)
            grads = tl.load(grad_tile, mask=inside, other=0.0)
            row_lse = tl.load(row_lse_tile + start, mask=row < left, other=float('inf'))
            row_sum = tl.load(row_sum_tile + start, mask=row < left, other=0.0)
        probs = tl.exp2(_dot(queries, tl.trans(keys)) * _LOG2_E - (row_lse * _LOG2_E)[:, None])
        grads = probs * (grads.to(tl.float32) - row_sum[:, None])
        total += _dot_gradient(tl.trans(grads), queries)
        query_tile += ROWS * query_token * FORM.unit
        grad_tile += ROWS * stride_row
    _store(grad, total, image, head, column, num_keys, grad_image, grad_head, grad_token, FORM)


@triton.jit(do_not_specialize=_PLACES)
def _log_sum_exp(
    query,
    key,
    lse,  # (B, H, Nq)
    first,
    num_queries,
    num_keys,
    query_image,
    query_head,
    query_token,
    key_image,
    key_head,
    key_token,
    FORM: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    line = first + tl.program_id(1).to(tl.int64)
    image, head = line // FORM.groups, line % FORM.groups
    queries = _tokens(query, image, head, row, num_queries, query_image, query_head, query_token, FORM)
    highest = tl.full((ROWS,), float('-inf'), tl.float32)
    total = tl.full((ROWS,), 0.0, tl.float32)
    for start in range(0, num_keys, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        keys = _tokens(key, image, head, column, num_keys, key_image, key_head, key_token, FORM)
        scores = _dot(queries, tl.trans(keys)) * _LOG2_E
        scores = tl.where(column[None, :] < num_keys, scores, float('-inf'))
        higher = tl.maximum(highest, tl.max(scores, 1))
        total = total * tl.exp2(highest - higher) + tl.sum(tl.exp2(scores - higher[:, None]), 1)
        highest = higher
    tl.store(lse + line * num_queries + row, (highest + tl.log2(total)) / _LOG2_E, mask=row < num_queries)


@triton.jit
def _tokens(tokens, image, head, token, size, stride_image, stride_head, stride_token, FORM: tl.constexpr):
    """``(tokens, block_dim)`` of one head, zero outside."""
    inside = (token[:, None] < size) & (tl.arange(0, FORM.block_dim)[None, :] < FORM.dim)
    return tl.load(
        tokens + _places(image, head, token, stride_image, stride_head, stride_token, FORM), mask=inside, other=0.0
    )


@triton.jit
def _store(tokens, values, image, head, token, size, stride_image, stride_head, stride_token, FORM: tl.constexpr):
    inside = (token[:, None] < size) & (tl.arange(0, FORM.block_dim)[None, :] < FORM.dim)
    places = _places(image, head, token, stride_image, stride_head, stride_token, FORM)
    tl.store(tokens + places, values.to(tokens.dtype.element_ty), mask=inside)


@triton.jit
def _places(image, head, token, stride_image, stride_head, stride_token, FORM: tl.constexpr):
    """Where the channels of tokens of one head lie: ``(tokens, block_dim)``."""
    # 64 bits up to the head: within it 32 do, and take half the registers
    start = (image * stride_image + head * stride_head) * FORM.unit
    return start + (token[:, None] * (stride_token * FORM.unit) + tl.arange(0, FORM.block_dim)[None, :])


@triton.jit
def _entries(maps, one, row, column, num_queries, stride_row):
    """Pointers to a tile of a map."""
    return maps + one * num_queries * stride_row + (row[:, None] * stride_row + column[None, :])


@triton.jit
def _of_rows(values, line, row, size, outside):
    """``values[line]`` of ``(lines, size)``."""
    return tl.load(values + line * size + row, mask=row < size, other=outside)


@triton.jit
def _inv_norms(square_norms, one, row, num_queries):
    """One over the norms of rows, 0 for one of which nothing is kept."""
    square = _of_rows(square_norms, one, row, num_queries, 0.0)
    return tl.where(square > 0, 1 / tl.sqrt(square), 0.0)


@triton.jit
def _dot(left, right):
    if left.dtype == tl.float32:
        return tl.dot(left, right, input_precision='tf32x3')
    else:
        return tl.dot(left, right)


@triton.jit
def _dot_gradient(left, tokens):
    if tokens.dtype == tl.float16:
        # gradients of float16 are too small for it; TF32 has its digits and the range of float32
        return tl.dot(left, tokens.to(tl.float32), input_precision='tf32')
    else:
        return _dot(left.to(tokens.dtype), tokens)
