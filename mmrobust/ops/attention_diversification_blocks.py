"""The two sweeps over blocks of query rows that ADL and the attention output share: no map is ever whole."""

# B batch, H heads, G groups of heads (1: averaged, H: each its own), N tokens, D channels per head

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# Entries of an (images, H, rows, Nk) block. On a CPU it and its gradient stay near a core; measured best at 64 to 128
# rows for N = 4096.
_BLOCK_ENTRIES = {'cpu': 2**21}
_BLOCK_ENTRIES_ACCELERATOR = 2**25


class Attention(NamedTuple):
    """What is swept over: ``softmax(query @ key^T * gate + bias)``, and what ADL is told of it."""

    query: Tensor  # (B, H, Nq, D), scaled
    key: Tensor  # (B, H, Nk, D)
    gate: Tensor | None  # broadcastable to (B, H, Nq, Nk) with both token axes present
    bias: Tensor | None  # the same
    thresholds: Tensor  # (B or 1, 1, Nq, 1), infinity for a row that takes no part
    mode: str
    per_head: bool
    block_entries: int | None


class _Block(NamedTuple):
    """Where a block lies, and what is needed of it. Its memory is used again for the next one, which is no larger."""

    images: slice
    rows: slice
    scores: Tensor | None  # (images, H, rows, Nk), before the gate, None without a gate
    probs: Tensor  # (images, H, rows, Nk)
    maps: Tensor  # (images, G, rows, Nk), averaged over the heads of a group
    counted: Tensor  # (images or 1, 1, rows, 1), bool: rows that lie in a region
    above: Tensor  # (images, G, rows, Nk), 1 for an entry of ``maps`` above the threshold, else 0
    kept: Tensor  # (images, G, rows, Nk), those entries, else 0
    inv_norms: Tensor  # (images, G, rows, 1), 1 / |kept row|, and 0 for a row that is all zero


def forward_sweep(attention: Attention, value: Tensor | None) -> tuple[Tensor | None, Tensor, Tensor]:
    """The attention output, and the two sums over rows that the loss is made of.

    Args:
        attention: what is swept over.
        value: ``(B, H, Nk, D)``, or None for no output.

    Returns:
        The output ``(B, H, Nq, D)`` or None; ``(B, G, Nk)`` the sum of the rows whose mean is compared with; ``(B, G,
        Nk)`` the sum of the kept rows, each divided by its norm.
    """
    query, key = attention.query, attention.key
    groups = query.size(1) if attention.per_head else 1
    out = None if value is None else torch.empty_like(query)
    row_sum, direction_sum = query.new_zeros(2, query.size(0), groups, 1, key.size(-2))
    for block in _blocks(attention):
        counted = block.counted.to(query.dtype).expand(-1, groups, -1, -1).transpose(-2, -1)
        row_sum[block.images] += counted @ (block.kept if attention.mode == 'paper' else block.maps)
        direction_sum[block.images] += block.inv_norms.transpose(-2, -1) @ block.kept
        if value is not None:
            out[block.images, :, block.rows] = block.probs @ value[block.images]
    return out, row_sum.squeeze(-2), direction_sum.squeeze(-2)


class Gradients(NamedTuple):
    """Those of what the sweeps were given, None where that was None."""

    query: Tensor
    key: Tensor
    value: Tensor | None
    gate: Tensor | None
    bias: Tensor | None


def backward_sweep(
    attention: Attention,
    value: Tensor | None,
    grad_out: Tensor | None,
    unit: Tensor,
    grad_row: Tensor,
    scale: Tensor,
) -> Gradients:
    """The way back through ADL and, with a ``value``, through the attention output.

    Args:
        attention: as it was swept over.
        value: as in the forward sweep.
        grad_out: gradient of the output, or None without one.
        unit: ``(B, G, Nk)``, u of :mod:`mmrobust.ops.attention_diversification`.
        grad_row: ``(B, G, Nk)``, gradient of every row by way of the mean vector.
        scale: scalar, gradient of the sum of all cosines.
    """
    query, key, gate, bias = attention.query, attention.key, attention.gate, attention.bias
    unit, grad_row = unit.unsqueeze(-2), grad_row.unsqueeze(-2)  # to meet the rows of a block
    heads = 1 if attention.per_head else query.size(1)
    # contiguous, unlike zeros_like: views of them are added to
    sums = (None if x is None else x.new_zeros(x.shape) for x in (key, value, gate, bias))
    grads = Gradients(torch.empty_like(query), *sums)
    memory = None
    for block in _blocks(attention):
        images, rows, inv_norms, kept = block.images, block.rows, block.inv_norms, block.kept
        along_unit = kept @ unit[images].transpose(-2, -1)
        grad_maps = unit[images] * (scale * inv_norms)
        grad_maps.addcmul_(kept, -scale * along_unit * inv_norms**3)
        if attention.mode == 'paper':
            grad_maps.add_(grad_row[images]).mul_(block.above)
        else:
            grad_maps.mul_(block.above).add_(grad_row[images] * block.counted)
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


def _blocks(attention: Attention) -> Iterator[_Block]:
    query, key, gate, bias, thresholds, mode, per_head, block_entries = attention
    block_entries = block_entries or _BLOCK_ENTRIES.get(query.device.type, _BLOCK_ENTRIES_ACCELERATOR)
    batch, heads, num_queries, _ = query.shape
    num_keys = key.size(-2)
    num_rows = max(1, min(num_queries, block_entries // max(1, heads * num_keys)))
    num_images = max(1, min(batch, block_entries // max(1, heads * num_rows * num_keys)))
    num_maps = num_images * (heads if per_head else 1) * num_rows * num_keys
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
            maps = probs if per_head else probs.mean(1, keepdim=True)
            threshold = _part(thresholds, images, rows)
            above, kept = (_begin_of(part, maps.shape) for part in memory_of_maps)
            # 1 and 0 to multiply with: on a CPU torch.where takes twenty times as long
            (torch.ge if mode == 'paper' else torch.gt)(maps, threshold, out=above)
            torch.mul(maps, above, out=kept)
            norms = torch.linalg.vector_norm(kept, dim=-1, keepdim=True)
            yield _Block(images, rows, scores, probs, maps, threshold < torch.inf, above, kept, inverse(norms))


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
