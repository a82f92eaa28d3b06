"""ADL's two sweeps on a GPU, in Triton: no part of an attention map leaves the chip.

A program takes a block of queries (or of keys) of one image and runs over all keys (or queries), a tile at a time; for
each tile it makes the probabilities of head after head. What belongs to a row is gathered in sweeps of its own:

1. ``_log_sum_exp``: the softmax's normalizer, of each head;
2. ``_square_norms``: ``|Â_i|^2``;
3. ``_column_sums``: the two sums over rows that the loss is made of, each block of keys its own;
4. ``_row_sums``: what the way back through the softmax subtracts, ``r_i = sum_j P_ij G_ij`` of each head. With ``G_ij =
   a_i u_j + b_i Â_ij + g_j`` on kept entries it is ``a_i X_i + b_i Y_i + Z_i``, and ``b_i`` needs the heads' mean of
   ``X_i``: so the three sums are gathered at once, before ``b_i`` is known;
5. ``_gradient``, once for queries and once for keys: ``sum_j P_ij (G_ij - r_i) key_j``, and its mirror image.

The mean over heads decides what is kept, so 4 and 5 make each tile's probabilities twice: in all 11 matrix products of
the size of ``query @ key^T``, where attention itself takes 2 forward and 5 backward. Memory is a few times that of
query and key in float32. Programs never add to the same number, so no result depends on which is first.

Products are made in the dtype of query and key, sums and softmax in float32. A product of float32 takes three of TF32,
which together are as exact as float32.

Checked in Triton's interpreter against the plain formula, and compiled for sm_80 and sm_90. Not yet run on a GPU.
"""

# B batch, H heads, G groups of heads (1: averaged, H: each its own), N tokens, D channels per head

# ruff: noqa: N803 - a kernel's constants are in capitals, as is the custom

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmrobust.ops.attention_diversification_blocks import Attention, Gradients, inverse

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_MAX_HEAD_DIM = 64
# Of a grid's second and third axis, by CUDA.
_MAX_PROGRAMS = 65535
# A sweep's inner loop is split among programs until there are so many, whose sums are added up.
_MIN_PROGRAMS = 256
# Tokens that a program owns and those of a step of its loop, by bytes of a number: what 99 KiB of shared memory and 255
# registers for each of two threads per owned token have room for.
_BLOCKS = {2: (128, 64), 4: (128, 32)}
_NUM_STAGES = 2
_LOG2_E = tl.constexpr(1.4426950408889634)


def supports(attention: Attention) -> bool:
    """Whether the kernels can sweep over it: no gate, no bias, and a dtype and sizes that they take."""
    query, key = attention.query, attention.key
    return (
        attention.gate is None
        and attention.bias is None
        and query.dtype == key.dtype
        and query.dtype in _DTYPES
        and query.size(-1) <= _MAX_HEAD_DIM
        and 0 < query.size(0) * query.size(1) <= _MAX_PROGRAMS
    )


def forward_sweep(attention: Attention, value: None = None) -> tuple[None, Tensor, Tensor, Tensor, Tensor]:
    """As :func:`mmrobust.ops.attention_diversification_blocks.forward_sweep`, without an attention output.

    Returns:
        None, and the two sums ``(B, G, Nk)`` in float32; then what the backward sweep is to be given: the logarithm to
        base 2 of the softmax's normalizer ``(B, H, Nq)``, and one over the norm of each kept row ``(B, G, Nq)``.
    """
    assert value is None
    batch, heads, num_queries, _ = attention.query.shape
    groups = heads if attention.per_head else 1
    options = dict(dtype=torch.float32, device=attention.query.device)
    lse = torch.empty(batch, heads, num_queries, **options)
    _launch(_log_sum_exp, attention._replace(per_head=True), 1, lse)
    splits = _num_splits(attention)
    square_norms = torch.empty(splits, batch, groups, num_queries, **options)
    _launch(_square_norms, attention, splits, lse, square_norms)
    inv_norms = inverse(square_norms.sum(0).sqrt())
    splits = _num_splits(attention, of_keys=True)
    columns = torch.empty(2, splits, batch, groups, attention.key.size(-2), **options)
    _launch(_column_sums, attention, splits, lse, inv_norms, *columns, of_keys=True)
    return None, *columns.sum(1), lse, inv_norms


def backward_sweep(
    attention: Attention,
    value: None,
    grad_out: None,
    unit: Tensor,
    grad_row: Tensor,
    scale: Tensor,
    lse: Tensor,
    inv_norms: Tensor,
) -> Gradients:
    """As :func:`mmrobust.ops.attention_diversification_blocks.backward_sweep`, which see.

    Args:
        lse: ``(B, H, Nq)``, of the forward sweep.
        inv_norms: ``(B, G, Nq)``, the same.
    """
    query, key = attention.query, attention.key
    heads = 1 if attention.per_head else query.size(1)
    splits = _num_splits(attention)
    columns = unit.contiguous(), grad_row.contiguous()
    row_sums = torch.zeros(3, splits, *lse.shape, dtype=torch.float32, device=query.device)
    _launch(_row_sums, attention, splits, lse, *columns, *row_sums)
    of_unit, of_kept, of_grad_row = row_sums.sum(1)
    along_unit = of_unit.unflatten(1, (-1, heads)).mean(2)
    factors = scale * inv_norms, -scale * along_unit * inv_norms**3
    by_head = [factor.repeat_interleave(heads, 1) for factor in factors]
    row_sum = by_head[0] * of_unit + by_head[1] * of_kept + of_grad_row

    grads = []
    for tokens, of_keys in ((query, False), (key, True)):
        splits = _num_splits(attention, of_keys)
        grad = torch.zeros(splits, *tokens.shape, dtype=torch.float32, device=tokens.device)
        _launch(_gradient, attention, splits, lse, *columns, *factors, row_sum, grad, of_keys=of_keys)
        grads.append((grad.sum(0) / heads).to(tokens.dtype))
    return Gradients(*grads, None, None, None)


class _Form(NamedTuple):
    """What a kernel is compiled for."""

    groups: int
    heads: int  # of a group
    dim: int
    block_dim: int
    block_own: int  # tokens of a program: keys if of_keys, else queries
    block_other: int  # tokens of a step of its loop: the others
    of_keys: bool
    official: bool


def _own_and_other(attention: Attention, of_keys: bool) -> tuple[Tensor, Tensor]:
    return (attention.key, attention.query) if of_keys else (attention.query, attention.key)


def _form(attention: Attention, of_keys: bool) -> _Form:
    heads, _, dim = attention.query.shape[1:]
    groups = heads if attention.per_head else 1
    block_dim = max(16, triton.next_power_of_2(dim))
    blocks = _BLOCKS[attention.query.element_size()]
    return _Form(groups, heads // groups, dim, block_dim, *blocks, of_keys, attention.mode == 'official')


def _num_splits(attention: Attention, of_keys: bool = False) -> int:
    own, other = _own_and_other(attention, of_keys)
    form = _form(attention, of_keys)
    programs = own.size(0) * form.groups * triton.cdiv(own.size(-2), form.block_own)
    return min(triton.cdiv(_MIN_PROGRAMS, programs), triton.cdiv(other.size(-2), form.block_other))


def _launch(
    kernel: triton.JITFunction, attention: Attention, splits: int, *tensors: Tensor, of_keys: bool = False
) -> None:
    own, other = (
        tokens if tokens.stride(-1) == 1 else tokens.contiguous() for tokens in _own_and_other(attention, of_keys)
    )
    form = _form(attention, of_keys)
    thresholds = attention.thresholds.float().expand(own.size(0), -1, -1, -1)
    kernel[triton.cdiv(own.size(-2), form.block_own), own.size(0) * form.groups, splits](
        (own, *own.stride()[:3], own.size(-2)),
        (other, *other.stride()[:3], other.size(-2)),
        (thresholds, thresholds.stride(0), thresholds.stride(2)),
        *tensors,
        FORM=form,
        num_warps=form.block_own // 16,
        num_stages=_NUM_STAGES,
    )


@triton.jit
def _log_sum_exp(queries, keys, thresholds, lse, FORM: tl.constexpr):
    group, first, own = _place(FORM)
    query = _tile(queries, group, 0, first, FORM.block_own, FORM)
    highest = tl.full((FORM.block_own,), float('-inf'), tl.float32)
    total = tl.zeros((FORM.block_own,), tl.float32)
    for start in range(0, keys[4], FORM.block_other):
        key = _tile(keys, group, 0, start, FORM.block_other, FORM)
        inside = start + tl.arange(0, FORM.block_other) < keys[4]
        scores = tl.where(inside[None, :], _dot(query, tl.trans(key)) * _LOG2_E, float('-inf'))
        higher = tl.maximum(highest, tl.max(scores, 1))
        total = total * tl.exp2(highest - higher) + tl.sum(tl.exp2(scores - higher[:, None]), 1)
        highest = higher
    tl.store(lse + group * queries[4] + own, highest + tl.log2(total), mask=own < queries[4])


@triton.jit
def _square_norms(queries, keys, thresholds, lse, square_norms, FORM: tl.constexpr):
    group, first, own = _place(FORM)
    total = tl.zeros((FORM.block_own,), tl.float32)
    begin, end = _part(keys[4], FORM)
    for start in range(begin, end, FORM.block_other):
        _, kept, _ = _maps(queries, keys, thresholds, lse, group, first, start, FORM)
        total += tl.sum(kept * kept, 1)
    tl.store(square_norms + _of_split(group) * queries[4] + own, total, mask=own < queries[4])


@triton.jit
def _column_sums(keys, queries, thresholds, lse, inv_norms, row_sum, direction_sum, FORM: tl.constexpr):
    group, first, own = _place(FORM)
    rows = tl.zeros((FORM.block_own,), tl.float32)
    directions = tl.zeros((FORM.block_own,), tl.float32)
    begin, end = _part(queries[4], FORM)
    for start in range(begin, end, FORM.block_other):
        maps, kept, threshold = _maps(keys, queries, thresholds, lse, group, first, start, FORM)
        if FORM.official:
            rows += tl.sum(tl.where(threshold < float('inf'), maps, 0.0), 1)
        else:
            rows += tl.sum(kept, 1)
        directions += tl.sum(kept * _of_queries(inv_norms, group, keys, queries, first, start, 0.0, FORM), 1)
    place = _of_split(group) * keys[4] + own
    tl.store(row_sum + place, rows, mask=own < keys[4])
    tl.store(direction_sum + place, directions, mask=own < keys[4])


@triton.jit
def _row_sums(queries, keys, thresholds, lse, unit, grad_row, of_unit, of_kept, of_grad_row, FORM: tl.constexpr):
    group, first, own = _place(FORM)
    begin, end = _part(keys[4], FORM)
    for start in range(begin, end, FORM.block_other):
        _, kept, threshold = _maps(queries, keys, thresholds, lse, group, first, start, FORM)
        along_unit = tl.where(kept > 0, _of_keys(unit, group, queries, keys, first, start, FORM), 0.0)
        by_mean = _by_mean(grad_row, kept, threshold, group, queries, keys, first, start, FORM)
        for head in range(FORM.heads):
            probs = _probs(queries, keys, lse, group, head, first, start, FORM)[0]
            # atomic only so as not to wait for what is there: no other program adds to this place
            place = (_of_split(group) * FORM.heads + head) * queries[4] + own
            tl.atomic_add(of_unit + place, tl.sum(probs * along_unit, 1), mask=own < queries[4], sem='relaxed')
            tl.atomic_add(of_kept + place, tl.sum(probs * kept, 1), mask=own < queries[4], sem='relaxed')
            tl.atomic_add(of_grad_row + place, tl.sum(probs * by_mean, 1), mask=own < queries[4], sem='relaxed')


@triton.jit
def _gradient(
    own_tokens,
    other_tokens,
    thresholds,
    lse,
    unit,
    grad_row,
    unit_factor,  # (B, G, Nq), a
    kept_factor,  # (B, G, Nq), b
    row_sum,  # (B, H, Nq), r
    grad,  # (splits, B, H, N, D)
    FORM: tl.constexpr,
):
    group, first, own = _place(FORM)
    channel = tl.arange(0, FORM.block_dim)[None, :]
    inside = (own[:, None] < own_tokens[4]) & (channel < FORM.dim)
    offsets = tl.arange(0, FORM.block_own)[:, None] * FORM.dim + channel
    begin, end = _part(other_tokens[4], FORM)
    for start in range(begin, end, FORM.block_other):
        _, kept, threshold = _maps(own_tokens, other_tokens, thresholds, lse, group, first, start, FORM)
        by_unit = _of_queries(unit_factor, group, own_tokens, other_tokens, first, start, 0.0, FORM)
        by_unit *= _of_keys(unit, group, own_tokens, other_tokens, first, start, FORM)
        by_kept = _of_queries(kept_factor, group, own_tokens, other_tokens, first, start, 0.0, FORM)
        grad_maps = tl.where(kept > 0, by_unit + by_kept * kept, 0.0)
        grad_maps += _by_mean(grad_row, kept, threshold, group, own_tokens, other_tokens, first, start, FORM)
        for head in range(FORM.heads):
            probs, other = _probs(own_tokens, other_tokens, lse, group, head, first, start, FORM)
            rows = group * FORM.heads + head
            grad_scores = probs * (
                grad_maps - _of_queries(row_sum, rows, own_tokens, other_tokens, first, start, 0.0, FORM)
            )
            place = (_of_split(group) * FORM.heads + head) * own_tokens[4] + first
            # as in _row_sums
            tl.atomic_add(
                grad + place * FORM.dim + offsets, _dot_gradient(grad_scores, other), mask=inside, sem='relaxed'
            )


@triton.jit
def _place(FORM: tl.constexpr):
    """This program's image and group of heads, the first token it owns, and all of these."""
    first = tl.program_id(0) * FORM.block_own
    return tl.program_id(1).to(tl.int64), first, first + tl.arange(0, FORM.block_own)


@triton.jit
def _part(size, FORM: tl.constexpr):
    """Begin and end of this program's share of the loop over the other tokens."""
    share = tl.cdiv(tl.cdiv(size, FORM.block_other), tl.num_programs(2)) * FORM.block_other
    begin = tl.program_id(2) * share
    return begin, tl.minimum(begin + share, size)


@triton.jit
def _of_split(group):
    """The place of a group's result in ``(splits, B, G)``."""
    return tl.program_id(2).to(tl.int64) * tl.num_programs(1) + group


@triton.jit
def _maps(own_tokens, other_tokens, thresholds, lse, group, first, start, FORM: tl.constexpr):
    """A tile of the heads' mean, of what is kept of it, and the rows' thresholds."""
    maps = tl.zeros((FORM.block_own, FORM.block_other), tl.float32)
    for head in range(FORM.heads):
        probs = _probs(own_tokens, other_tokens, lse, group, head, first, start, FORM)[0]
        maps += probs
    maps /= FORM.heads
    query, _, num_queries, _ = _queries_and_keys(own_tokens, other_tokens, first, start, FORM)
    pointer, stride_image, stride_query = thresholds
    pointers = pointer + group // FORM.groups * stride_image + query * stride_query
    threshold = _down(tl.load(pointers, mask=query < num_queries, other=float('inf')), FORM)
    dropped = maps <= threshold if FORM.official else maps < threshold
    return maps, tl.where(dropped, 0.0, maps), threshold


@triton.jit
def _by_mean(grad_row, kept, threshold, group, own_tokens, other_tokens, first, start, FORM: tl.constexpr):
    """A tile of the gradient that a row gets by way of the mean vector."""
    grads = _of_keys(grad_row, group, own_tokens, other_tokens, first, start, FORM)
    counted = threshold < float('inf') if FORM.official else kept > 0
    return tl.where(counted, grads, 0.0)


@triton.jit
def _probs(own_tokens, other_tokens, lse, group, head, first, start, FORM: tl.constexpr):
    """A tile of one head's probabilities, zero outside the map, and its other tokens ``(block_other, block_dim)``."""
    own = _tile(own_tokens, group, head, first, FORM.block_own, FORM)
    other = _tile(other_tokens, group, head, start, FORM.block_other, FORM)
    rows = group * FORM.heads + head
    # rows outside have probability exp2(-infinity)
    row_lse = _of_queries(lse, rows, own_tokens, other_tokens, first, start, float('inf'), FORM)
    _, key, _, num_keys = _queries_and_keys(own_tokens, other_tokens, first, start, FORM)
    probs = tl.exp2(_dot(own, tl.trans(other)) * _LOG2_E - row_lse)
    return tl.where(_across(key < num_keys, FORM), probs, 0.0), other


@triton.jit
def _tile(tokens, group, head, first, BLOCK: tl.constexpr, FORM: tl.constexpr):
    """``(BLOCK, block_dim)`` of one head, zero outside."""
    pointer, stride_image, stride_head, stride_token, size = tokens
    pointer += group // FORM.groups * stride_image + (group % FORM.groups * FORM.heads + head) * stride_head
    # 64 bits for the first token only: inside a tile 32 do, and take half the registers
    pointer += tl.cast(first, tl.int64) * stride_token
    token, channel = tl.arange(0, BLOCK)[:, None], tl.arange(0, FORM.block_dim)[None, :]
    inside = (first + token < size) & (channel < FORM.dim)
    return tl.load(pointer + (token * stride_token + channel), mask=inside, other=0.0)


@triton.jit
def _of_queries(values, row, own_tokens, other_tokens, first, start, outside, FORM: tl.constexpr):
    """``values[row]`` of ``(rows, Nq)``, to meet a tile."""
    query, _, num_queries, _ = _queries_and_keys(own_tokens, other_tokens, first, start, FORM)
    return _down(tl.load(values + row * num_queries + query, mask=query < num_queries, other=outside), FORM)


@triton.jit
def _of_keys(values, row, own_tokens, other_tokens, first, start, FORM: tl.constexpr):
    """``values[row]`` of ``(rows, Nk)``, to meet a tile."""
    _, key, _, num_keys = _queries_and_keys(own_tokens, other_tokens, first, start, FORM)
    return _across(tl.load(values + row * num_keys + key, mask=key < num_keys, other=0.0), FORM)


@triton.jit
def _queries_and_keys(own_tokens, other_tokens, first, start, FORM: tl.constexpr):
    """Which queries and which keys lie in a tile, and how many there are."""
    own, other = first + tl.arange(0, FORM.block_own), start + tl.arange(0, FORM.block_other)
    if FORM.of_keys:
        return other, own, other_tokens[4], own_tokens[4]
    else:
        return own, other, own_tokens[4], other_tokens[4]


@triton.jit
def _down(values, FORM: tl.constexpr):
    """One for each query, to meet a tile."""
    if FORM.of_keys:
        return values[None, :]
    else:
        return values[:, None]


@triton.jit
def _across(values, FORM: tl.constexpr):
    """One for each key, to meet a tile."""
    if FORM.of_keys:
        return values[:, None]
    else:
        return values[None, :]


@triton.jit
def _dot(left, right):
    if left.dtype == tl.float32:
        return tl.dot(left, right, input_precision='tf32x3')
    else:
        return tl.dot(left, right)


@triton.jit
def _dot_gradient(grad_scores, tokens):
    if tokens.dtype == tl.float16:
        # gradients of float16 are too small for it; TF32 has its digits and the range of float32
        return tl.dot(grad_scores, tokens.to(tl.float32), input_precision='tf32')
    else:
        return _dot(grad_scores.to(tokens.dtype), tokens)
