"""The two sweeps over blocks of query rows that ADL and the attention output share: no map is ever whole."""

# B batch, H heads, G groups of heads (1: averaged, H: each its own), N tokens, D channels per head

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mmrobust.ops.attention import Attention

# Entries of an (images, H, rows, Nk) block. On a CPU it and its gradient stay near a core; measured best at 64 to 128
# rows for N = 4096.
_BLOCK_ENTRIES = {'cpu': 2**21}
_BLOCK_ENTRIES_ACCELERATOR = 2**25


class Kept(NamedTuple):
    """Which entries of a map are kept, and how.

    Attributes:
        threshold: what an entry must reach; ignored where ``thresholds`` are given.
        thresholds: ``(B or 1, 1, Nq, 1)``, one for each row, infinity for a row that takes no part; or None.
        strict: an entry must exceed its threshold, not only reach it.
        sum_all: the first sum is of whole rows, and not of what is kept of them.
        per_head: each head is a map of its own; else the mean over heads is the map.
        block_entries: how many entries of maps are alive at once where the sums are made in blocks of rows; None
            chooses by device.
    """

    threshold: float
    thresholds: Tensor | None
    strict: bool
    sum_all: bool
    per_head: bool
    block_entries: int | None


class _Block(NamedTuple):
    """Where a block lies, and what is needed of it. Its memory is used again for the next one, which is no larger."""

    images: slice
    rows: slice
    scores: Tensor | None  # (images, H, rows, Nk), before the gate, None without a gate
    probs: Tensor  # (images, H, rows, Nk)
    maps: Tensor  # (images, G, rows, Nk), averaged over the heads of a group
    counted: Tensor  # (images or 1, 1, rows, 1), bool: rows that take part
    above: Tensor  # (images, G, rows, Nk), 1 for an entry of ``maps`` above the threshold, else 0
    kept: Tensor  # (images, G, rows, Nk), those entries, else 0
    inv_norms: Tensor  # (images, G, rows, 1), 1 / |kept row|, and 0 for a row that is all zero


def forward(attention: Attention, value: Tensor | None, kept: Kept) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
    """The attention output, and the two sums over rows.

    Args:
        attention: in float32 or float64.
        value: ``(B, H, Nk, D)`` in the same dtype, or None for no output.
        kept: see :class:`Kept`.

    Returns:
        The output ``(B, H, Nq, D)`` or None; ``(B, G, Nk)`` the sum of rows; ``(B, G, Nk)`` the sum of kept rows, each
        divided by its norm; ``(B, G, Nq)`` one over these norms, 0 for a row of which nothing is kept.
    """
    query, key = attention.query, attention.key
    groups = query.size(1) if kept.per_head else 1
    out = None if value is None else torch.empty_like(query)
    row_sum, direction_sum = (query.new_zeros(query.size(0), groups, 1, key.size(-2)) for _ in range(2))
    inv_norms = query.new_empty(query.size(0), groups, query.size(-2), 1)
    for block in _blocks(attention, kept):
        images, rows = block.images, block.rows
        counted = block.counted.to(query.dtype).expand(-1, groups, -1, -1).transpose(-2, -1)
        row_sum[images] += counted @ (block.maps if kept.sum_all else block.kept)
        direction_sum[images] += block.inv_norms.transpose(-2, -1) @ block.kept
        inv_norms[images, :, rows] = block.inv_norms
        if out is not None:
            out[images, :, rows] = block.probs @ value[images]
    return out, row_sum.squeeze(-2), direction_sum.squeeze(-2), inv_norms.squeeze(-1)


def kept_entries(attention: Attention, kept: Kept) -> Tensor:
    """How many entries of each row are kept, ``(B, G, Nq)``; arguments as in :func:`forward`."""
    query = attention.query
    counts = query.new_empty(query.size(0), query.size(1) if kept.per_head else 1, query.size(-2))
    for block in _blocks(attention, kept):
        counts[block.images, :, block.rows] = block.above.sum(-1)
    return counts


class Gradients(NamedTuple):
    """Those of what attention is made of, None where that was None."""

    query: Tensor
    key: Tensor
    value: Tensor | None
    gate: Tensor | None
    bias: Tensor | None


def backward(
    attention: Attention,
    value: Tensor | None,
    kept: Kept,
    grad_out: Tensor | None,
    grad_row_sum: Tensor,
    grad_direction_sum: Tensor,
) -> Gradients:
    """The way back through the sums and, with a value, through the attention output.

    With ``Â_i`` the kept row, ``n_i`` its norm, ``g`` and ``d`` the gradients of the two sums, an entry that is kept
    has the gradient ``g_j + d_j / n_i - (Â_i . d) Â_ij / n_i^3``.

    Args:
        attention, value, kept: as in :func:`forward`.
        grad_out: gradient of the output, or None without one.
        grad_row_sum: ``(B, G, Nk)``.
        grad_direction_sum: ``(B, G, Nk)``.
    """
    query, key, gate, bias, *_ = attention
    grad_row, direction = grad_row_sum.unsqueeze(-2), grad_direction_sum.unsqueeze(-2)  # to meet the rows of a block
    heads = 1 if kept.per_head else query.size(1)
    # contiguous, unlike zeros_like: views of them are added to
    sums = (None if x is None else x.new_zeros(x.shape) for x in (key, value, gate, bias))
    grads = Gradients(torch.empty_like(query), *sums)
    memory = None
    for block in _blocks(attention, kept):
        images, rows, inv_norms = block.images, block.rows, block.inv_norms
        along = block.kept @ direction[images].transpose(-2, -1)
        grad_maps = direction[images] * inv_norms
        grad_maps.addcmul_(block.kept, -along * inv_norms**3)
        if kept.sum_all:
            grad_maps.mul_(block.above).add_(grad_row[images] * block.counted)
        else:
            grad_maps.add_(grad_row[images]).mul_(block.above)
        grad_maps /= heads

        if memory is None:
            memory = query.new_empty(block.probs.numel())
        grad = _begin_of(memory, block.probs.shape).copy_(grad_maps)
        if value is not None:
            grad_rows = grad_out[images, :, rows].flatten(0, 1)
            grad.flatten(0, 1).baddbmm_(grad_rows, value[images].flatten(0, 1).transpose(-2, -1))
            grads.value[images].flatten(0, 1).baddbmm_(block.probs.flatten(0, 1).transpose(-2, -1), grad_rows)
        # PyTorch's own step back through a softmax, (grad - sum(grad * probs)) * probs, in one pass and in place
        torch.ops.aten._softmax_backward_data.out(grad, block.probs, -1, grad.dtype, grad_input=grad)
        if bias is not None:
            _add_to_part(grads.bias, grad, images, rows)
        if gate is not None:
            _add_to_part(grads.gate, grad * block.scores, images, rows)
            grad *= _part(gate, images, rows)
        grads.query[images, :, rows] = grad @ key[images]
        query_rows = query[images, :, rows].flatten(0, 1)
        grads.key[images].flatten(0, 1).baddbmm_(grad.flatten(0, 1).transpose(-2, -1), query_rows)
    return grads


def _blocks(attention: Attention, kept: Kept) -> Iterator[_Block]:
    query, key, gate, bias, *_ = attention
    thresholds = kept.thresholds
    if thresholds is None:
        thresholds = query.new_full((1, 1, query.size(2), 1), kept.threshold)
    block_entries = kept.block_entries or _BLOCK_ENTRIES.get(query.device.type, _BLOCK_ENTRIES_ACCELERATOR)
    batch, heads, num_queries, _ = query.shape
    num_keys = key.size(-2)
    num_rows = max(1, min(num_queries, block_entries // max(1, heads * num_keys)))
    num_images = max(1, min(batch, block_entries // max(1, heads * num_rows * num_keys)))
    num_maps = num_images * (heads if kept.per_head else 1) * num_rows * num_keys
    memory = query.new_empty(num_images * heads * num_rows * num_keys)
    memory_of_scores = None if gate is None else torch.empty_like(memory)
    memory_of_maps = query.new_empty(2, num_maps)
    scores = None
    for image in range(0, batch, num_images):
        images = slice(image, image + num_images)
        for row in range(0, num_queries, num_rows):
            rows = slice(row, row + num_rows)
            queries, keys = query[images, :, rows], key[images].transpose(-2, -1)
            probs = _begin_of(memory, (*queries.shape[:3], num_keys))
            if gate is None:
                torch.matmul(queries, keys, out=probs)
            else:
                scores = torch.matmul(queries, keys, out=_begin_of(memory_of_scores, probs.shape))
                torch.mul(scores, _part(gate, images, rows), out=probs)
            if bias is not None:
                probs += _part(bias, images, rows)
            torch.softmax(probs, -1, out=probs)
            maps = probs if kept.per_head else probs.mean(1, keepdim=True)
            threshold = _part(thresholds, images, rows)
            above, remaining = (_begin_of(part, maps.shape) for part in memory_of_maps)
            # 1 and 0 to multiply with: on a CPU torch.where takes twenty times as long
            (torch.gt if kept.strict else torch.ge)(maps, threshold, out=above)
            torch.mul(maps, above, out=remaining)
            norms = torch.linalg.vector_norm(remaining, dim=-1, keepdim=True)
            yield _Block(images, rows, scores, probs, maps, threshold < torch.inf, above, remaining, inverse(norms))


def _begin_of(memory: Tensor, shape: tuple[int, ...]) -> Tensor:
    """As much of it as a block needs. All blocks share it: new memory costs more than what is done in it."""
    return memory[: math.prod(shape)].view(shape)


def _part(full: Tensor, images: slice, rows: slice) -> Tensor:
    """Rows of a gate, bias or threshold whose leading axes may be missing or 1."""
    part = full[..., rows, :]
    return part[images] if part.dim() == 4 and part.size(0) > 1 else part


def _add_to_part(total: Tensor, grad: Tensor, images: slice, rows: slice) -> None:
    part = _part(total, images, rows)
    part += grad.sum_to_size(part.shape)


def inverse(norms: Tensor) -> Tensor:
    """``1 / norms``, and 0 for 0."""
    return torch.where(norms > 0, 1 / norms, torch.zeros_like(norms))
