"""Two sums over attention rows, which is all that ADL needs, as an operator; optionally with the attention output.

Of ``A``, the probabilities of one layer (averaged over heads, or of each head), let ``Â_i`` be row i without the
entries below its threshold, and ``n_i = |Â_i|``. The operator returns ``sum_i Â_i`` (or ``sum_i A_i``), ``sum_i Â_i /
n_i`` and ``1 / n_i``; every form of ADL is a function of these (:mod:`mmrobust.ops.attention_diversification`). Its
backward pass computes the probabilities once more, so that nothing of a map is kept from one layer to the next.

It is one operator for PyTorch: eager mode, ``torch.compile``, autocast, activation checkpointing and data-parallel
training see its name, its shapes and its gradient, and not which code computes it: Triton kernels on a GPU, blocks of
rows elsewhere, with a gate or a bias, and wherever the kernels cannot be compiled.
"""

# B batch, H heads, G groups of heads (1: averaged, H: each its own), N tokens, D channels per head

from typing import NamedTuple

import torch
from torch import Tensor

from mmrobust.ops import attention_sums_blocks, kernels
from mmrobust.ops.attention import Attention, attention_output
from mmrobust.ops.attention_sums_blocks import Kept

_MAX_HEAD_DIM = 128  # of the kernels


class Sums(NamedTuple):
    """Sums kept of an attention map."""

    of_rows: Tensor  # (B, G, Nk), float32 at least, as the others
    of_directions: Tensor  # (B, G, Nk), of the kept rows, each divided by its norm
    inv_norms: Tensor  # (B, G, Nq), without gradient; 0 for a row of which nothing is kept


def attention_sums(attention: Attention, kept: Kept) -> Sums:
    """The sums over rows of the attention probabilities. ``kept`` says which rows take part; regions are not read."""
    lse = None
    if _kernels_fit(attention, kept):
        lse = torch.ops.mmrobust.log_sum_exp(attention.query.detach(), attention.key.detach())
    return _sums(attention, None, lse, kept)[1]


def attention_with_sums(attention: Attention, value: Tensor, kept: Kept) -> tuple[Tensor, Sums]:
    """The attention output ``(B, H, Nq, D)`` in the dtype of ``value``, and :func:`attention_sums`.

    On a CPU in float32 or float64, and with a ``gate``, which ``scaled_dot_product_attention`` does not take, both are
    made in the same sweep. Elsewhere the output is that of ``scaled_dot_product_attention``, whose normalizer the
    kernels use again.
    """
    if _kernels_fit(attention, kept):
        out, lse = _attention_and_normalizer(attention, value)
        return out, _sums(attention, None, lse, kept)[1]
    fused = attention.query.device.type != 'cpu' or value.dtype not in (torch.float32, torch.float64)
    if attention.gate is None and fused:
        return attention_output(attention, value), _sums(attention, None, None, kept)[1]
    return _sums(attention, value, None, kept)


def _sums(attention: Attention, value: Tensor | None, lse: Tensor | None, kept: Kept) -> tuple[Tensor, Sums]:
    query, key, gate, bias, *_ = attention
    out, *sums = torch.ops.mmrobust.attention_sums(query, key, value, gate, bias, lse, *kept)
    return out, Sums(*sums)


def _kernels_fit(attention: Attention, kept: Kept) -> bool:
    """Whether the kernels take it: no gate, no bias, no rows of their own, and sizes that 32 bits can count."""
    query, key, gate, bias, *_ = attention
    return (
        gate is None
        and bias is None
        and kept.thresholds is None
        and kernels.fit(query, key)
        and query.size(-1) <= _MAX_HEAD_DIM
        and min(query.numel(), key.numel()) > 0
        and query.size(-2) * (key.size(-2) + 16) < 2**31
        and all(tokens.size(-2) * tokens.stride(-2) < 2**31 for tokens in (query, key))
    )


def _attention_and_normalizer(attention: Attention, value: Tensor) -> tuple[Tensor, Tensor]:
    """The output of ``scaled_dot_product_attention``, and the logarithm of the softmax's normalizer ``(B, H, Nq)``.

    PyTorch does not give the second away, but those of its operators that compute both do: so the one that it would
    choose is called by name.
    """
    query, key = attention.query, attention.key
    if query.dtype != torch.float32 and query.size(-1) % 8 == 0 and value.dtype == query.dtype:
        chosen = _fused_attention(query.device.index, query.dtype, query.size(-1))
        if chosen == 'cudnn':
            found = torch.ops.aten._scaled_dot_product_cudnn_attention(query, key, value, None, True, scale=1.0)
            return found[0], found[1].detach().reshape(query.shape[:3])
        if chosen == 'flash':
            found = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, scale=1.0)
            return found[0], found[1].detach().reshape(query.shape[:3])
    return attention_output(attention, value), torch.ops.mmrobust.log_sum_exp(query.detach(), key.detach())


@torch.compiler.assume_constant_result
def _fused_attention(device: int, dtype: torch.dtype, dim: int) -> str:
    """Which operator ``scaled_dot_product_attention`` chooses: 'cudnn', 'flash', or '' for one without a normalizer."""
    probe = torch.empty(1, 1, 128, dim, device=f'cuda:{device}', dtype=dtype, requires_grad=True)
    try:
        chosen = torch._fused_sdp_choice(probe, probe, probe, scale=1.0)
    except (AttributeError, RuntimeError, TypeError):  # not a public function
        return ''
    backends = torch.nn.attention.SDPBackend
    return {int(backends.CUDNN_ATTENTION.value): 'cudnn', int(backends.FLASH_ATTENTION.value): 'flash'}.get(chosen, '')


@torch.library.custom_op('mmrobust::log_sum_exp', mutates_args=())
def _log_sum_exp(query: Tensor, key: Tensor) -> Tensor:
    """Logarithm of the softmax's normalizer, ``(B, H, Nq)`` float32. Without gradient."""

    def by_kernels() -> Tensor:
        from mmrobust.ops import attention_sums_triton

        return attention_sums_triton.log_sum_exp(query, key)

    def in_blocks() -> Tensor:
        rows = max(1, 2**25 // max(1, query.size(0) * query.size(1) * key.size(2)))
        keys = key.float().transpose(-2, -1)
        return torch.cat([(part.float() @ keys).logsumexp(-1) for part in query.split(rows, 2)], -1)

    return kernels.run_or(by_kernels, in_blocks)


@_log_sum_exp.register_fake
def _(query: Tensor, key: Tensor) -> Tensor:
    return query.new_empty(query.shape[:3], dtype=torch.float32)


@torch.library.custom_op('mmrobust::attention_sums', mutates_args=())
def _attention_sums(
    query: Tensor,
    key: Tensor,
    value: Tensor | None,
    gate: Tensor | None,
    bias: Tensor | None,
    lse: Tensor | None,
    threshold: float,
    thresholds: Tensor | None,
    strict: bool,
    sum_all: bool,
    per_head: bool,
    block_entries: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The output (empty without a value), and the three of :class:`Sums`. By kernels where ``lse`` is given."""

    def by_kernels() -> tuple[Tensor, ...]:
        from mmrobust.ops import attention_sums_triton

        sums = attention_sums_triton.forward(query, key, lse, threshold, per_head, strict, sum_all)
        return query.new_empty(0), *sums

    def in_blocks() -> tuple[Tensor, ...]:
        kept = Kept(threshold, thresholds, strict, sum_all, per_head, block_entries)
        out, *sums = attention_sums_blocks.forward(*_widened(query, key, value, gate, bias), kept)
        return query.new_empty(0) if out is None else out.to(value.dtype), *sums

    return in_blocks() if lse is None else kernels.run_or(by_kernels, in_blocks)


@_attention_sums.register_fake
def _(query, key, value, gate, bias, lse, threshold, thresholds, strict, sum_all, per_head, block_entries):
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
    lse: Tensor | None,
    inv_norms: Tensor,
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
    none = query.new_empty(0)

    def by_kernels() -> tuple[Tensor, ...]:
        from mmrobust.ops import attention_sums_triton

        grads_of_sums = (grad_row_sum, grad_direction_sum)
        grads = attention_sums_triton.backward(
            query, key, lse, threshold, per_head, strict, sum_all, inv_norms, *grads_of_sums
        )
        return *map(_as, (query, key), grads), none.clone(), none.clone(), none.clone()

    def in_blocks() -> tuple[Tensor, ...]:
        kept = Kept(threshold, thresholds, strict, sum_all, per_head, block_entries)
        attention, values = _widened(query, key, value, gate, bias)
        grads_of_outputs = (grad_out.to(attention.query.dtype), grad_row_sum, grad_direction_sum)
        grads = attention_sums_blocks.backward(attention, values, kept, *grads_of_outputs)
        given = (query, key, value, gate, bias)
        return tuple(none.clone() if x is None else _as(x, grad) for x, grad in zip(given, grads, strict=True))

    return in_blocks() if lse is None else kernels.run_or(by_kernels, in_blocks)


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
    inv_norms = output[3]
    ctx.mark_non_differentiable(inv_norms)
    ctx.save_for_backward(*tensors, thresholds, inv_norms)
    ctx.kept = (threshold, strict, sum_all, per_head, block_entries)


def _backward(ctx, grad_out: Tensor, grad_row_sum: Tensor, grad_direction_sum: Tensor, _) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        # it would miss, silently, how the sums of the forward pass depend on the inputs
        raise RuntimeError('ADL has no second derivative, but one was asked for with create_graph=True')
    *tensors, lse, thresholds, inv_norms = ctx.saved_tensors
    threshold, *options = ctx.kept
    grads = torch.ops.mmrobust.attention_sums_backward(
        *tensors, lse, inv_norms, grad_out, grad_row_sum, grad_direction_sum, threshold, thresholds, *options
    )
    grads = (None if x is None else grad for x, grad in zip(tensors, grads, strict=True))
    return *grads, None, None, None, None, None, None, None


_attention_sums.register_autograd(_backward, setup_context=_setup_context)
