"""Two sums over attention rows, which is all that ADL needs, as an operator; optionally with the attention output.

Of ``A``, the probabilities of one layer (averaged over heads, or of each head), let ``Â_i`` be row i without the
entries below its threshold, and ``n_i = |Â_i|``. The operator returns ``sum_i Â_i`` (or ``sum_i A_i``), ``sum_i Â_i /
n_i`` and ``1 / n_i``; every form of ADL is a function of these (:mod:`mmrobust.ops.attention_diversification`). Its
backward pass computes the probabilities once more, so that nothing of a map is kept from one layer to the next.

It is one operator for PyTorch: eager mode, ``torch.compile``, autocast, activation checkpointing and data-parallel
training see its name, its shapes and its gradient. It works in blocks of rows, on any device and with a gate, a bias
and regions; what needs none of these runs in kernels on a GPU (:mod:`mmrobust.ops.attention_diversification_kernels`).
"""

# B batch, H heads, G groups of heads (1: averaged, H: each its own), N tokens, D channels per head

from typing import NamedTuple

import torch
from torch import Tensor

from mmrobust.ops import attention_sums_blocks
from mmrobust.ops.attention import Attention, attention_output
from mmrobust.ops.attention_sums_blocks import Kept


class Sums(NamedTuple):
    """Sums kept of an attention map."""

    of_rows: Tensor  # (B, G, Nk), float32 at least, as the others
    of_directions: Tensor  # (B, G, Nk), of the kept rows, each divided by its norm
    inv_norms: Tensor  # (B, G, Nq), without gradient; 0 for a row of which nothing is kept


def attention_sums(attention: Attention, kept: Kept) -> Sums:
    """The sums over rows of the attention probabilities. ``kept`` says which rows take part; regions are not read."""
    return _sums(attention, None, kept)[1]


def attention_with_sums(attention: Attention, value: Tensor, kept: Kept) -> tuple[Tensor, Sums]:
    """The attention output ``(B, H, Nq, D)`` in the dtype of ``value``, and :func:`attention_sums`.

    On a CPU in float32 or float64, and with a ``gate``, which ``scaled_dot_product_attention`` does not take, both are
    made in the same sweep. Elsewhere the output is that of ``scaled_dot_product_attention``.
    """
    fused = attention.query.device.type != 'cpu' or value.dtype not in (torch.float32, torch.float64)
    if attention.gate is None and fused:
        return attention_output(attention, value), _sums(attention, None, kept)[1]
    return _sums(attention, value, kept)


def _sums(attention: Attention, value: Tensor | None, kept: Kept) -> tuple[Tensor, Sums]:
    query, key, gate, bias, *_ = attention
    out, *sums = torch.ops.mmrobust.attention_sums(query, key, value, gate, bias, *kept)
    return out, Sums(*sums)


@torch.library.custom_op('mmrobust::attention_sums', mutates_args=())
def _attention_sums(
    query: Tensor,
    key: Tensor,
    value: Tensor | None,
    gate: Tensor | None,
    bias: Tensor | None,
    threshold: float,
    thresholds: Tensor | None,
    strict: bool,
    sum_all: bool,
    per_head: bool,
    block_entries: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The output (empty without a value), and the three of :class:`Sums`."""
    kept = Kept(threshold, thresholds, strict, sum_all, per_head, block_entries)
    out, *sums = attention_sums_blocks.forward(*_widened(query, key, value, gate, bias), kept)
    return query.new_empty(0) if out is None else out.to(value.dtype), *sums


@_attention_sums.register_fake
def _(query, key, value, gate, bias, threshold, thresholds, strict, sum_all, per_head, block_entries):
    dtype = torch.promote_types(query.dtype, torch.float32)
    groups = query.size(1) if per_head else 1
    out = query.new_empty(0) if value is None else torch.empty_like(query, dtype=value.dtype)
    of_keys = [query.new_empty(query.size(0), groups, key.size(2), dtype=dtype) for _ in range(2)]
    return out, *of_keys, query.new_empty(query.size(0), groups, query.size(2), dtype=dtype)


@torch.library.custom_op('mmrobust::attention_sums_backward', mutates_args=())
def _attention_sums_backward(
    query: Tensor,
    key: Tensor,
    value: Tensor | None,
    gate: Tensor | None,
    bias: Tensor | None,
    grad_out: Tensor,
    grad_row_sum: Tensor,
    grad_direction_sum: Tensor,
    threshold: float,
    thresholds: Tensor | None,
    strict: bool,
    sum_all: bool,
    per_head: bool,
    block_entries: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value, gate and bias; empty where these are None."""
    kept = Kept(threshold, thresholds, strict, sum_all, per_head, block_entries)
    attention, values = _widened(query, key, value, gate, bias)
    grads_of_outputs = (grad_out.to(attention.query.dtype), grad_row_sum, grad_direction_sum)
    grads = attention_sums_blocks.backward(attention, values, kept, *grads_of_outputs)
    given = (query, key, value, gate, bias)
    return tuple(query.new_empty(0) if x is None else _as(x, grad) for x, grad in zip(given, grads, strict=True))


@_attention_sums_backward.register_fake
def _(query, key, value, gate, bias, *others):
    return tuple(query.new_empty(0) if x is None else torch.empty_like(x) for x in (query, key, value, gate, bias))


def _as(x: Tensor, grad: Tensor) -> Tensor:
    """In the dtype and memory layout that the compiler expects of the gradient of ``x``."""
    like = torch.empty_like(x)
    same = grad.dtype == like.dtype and grad.stride() == like.stride()
    return grad if same else like.copy_(grad)


def _widened(query: Tensor, *others: Tensor | None) -> tuple[Attention, Tensor | None]:
    """Attention and value in float32 at least; ``others`` are key, value, gate and bias."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    key, value, gate, bias = (None if x is None else x.to(dtype) for x in others)
    return Attention(query.to(dtype), key, gate, bias), value


def _setup_context(ctx, inputs: tuple, output: tuple) -> None:
    *tensors, threshold, thresholds, strict, sum_all, per_head, block_entries = inputs
    ctx.mark_non_differentiable(output[3])
    ctx.save_for_backward(*tensors, thresholds)
    ctx.kept = (threshold, strict, sum_all, per_head, block_entries)


def _backward(ctx, grad_out: Tensor, grad_row_sum: Tensor, grad_direction_sum: Tensor, _) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        # it would miss, silently, how the sums of the forward pass depend on the inputs
        raise RuntimeError('ADL has no second derivative, but one was asked for with create_graph=True')
    *tensors, thresholds = ctx.saved_tensors
    threshold, *options = ctx.kept
    grads = torch.ops.mmrobust.attention_sums_backward(
        *tensors, grad_out, grad_row_sum, grad_direction_sum, threshold, thresholds, *options
    )
    grads = (None if x is None else grad for x, grad in zip(tensors, grads, strict=True))
    return *grads, None, None, None, None, None, None


_attention_sums.register_autograd(_backward, setup_context=_setup_context)
