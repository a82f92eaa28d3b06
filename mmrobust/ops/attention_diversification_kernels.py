"""ADL of one layer by Triton kernels on a GPU, as an operator that makes the loss and its gradients at once.

The backward pass of a scalar only multiplies its gradients by the one number that comes in. So they can be made where
the loss is made, while the heads' mean map, which both need, is in memory: it is computed once and not twice. What is
kept until the backward pass is as large as query and key. Differs from an operator of sums, as on a CPU
(:mod:`mmrobust.ops.attention_sums`), whose map is never whole and costs as much the second time anyway.

Activation checkpointing runs a layer forward twice, and keeps for gradients what the second run finds. In the first
one, where :func:`gradients_made` says no, they are not made; under ``torch.compile``, which does not ask, they are.

For PyTorch it is one operator: eager mode, ``torch.compile``, autocast, activation checkpointing and data-parallel
training see its name, its shapes and its gradient. Where the kernels cannot be compiled, blocks of rows take over.
"""

# B batch, H heads, G groups of heads (1: averaged, H: each its own), N tokens, D channels per head

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from mmrobust.ops import attention_sums_blocks, kernels
from mmrobust.ops.attention import Attention, attention_output
from mmrobust.ops.attention_sums import Sums
from mmrobust.ops.attention_sums_blocks import Kept

_MAX_HEAD_DIM = 128  # of the kernels
_MADE = ContextVar('_MADE', default=True)


@contextmanager
def gradients_made(made: bool) -> Iterator[None]:
    """Whether gradients are made within it: not in a run that activation checkpointing repeats before it takes any.

    What is kept then has their shapes, which checkpointing compares with those of the later run, and is NaN: training
    would stop if anything used it.
    """
    token = _MADE.set(made)
    try:
        yield
    finally:
        _MADE.reset(token)


def fit(attention: Attention) -> bool:
    """Whether the kernels take it: no gate, no bias, no regions, and sizes that 32 bits can count."""
    query, key, *others = attention
    return (
        all(one is None for one in others)
        and kernels.fit(query, key)
        and query.size(-1) <= _MAX_HEAD_DIM
        and min(query.numel(), key.numel()) > 0
        and query.size(-2) * (key.size(-2) + 16) < 2**31
        and all(tokens.size(-2) * tokens.stride(-2) < 2**31 for tokens in (query, key))
    )


def diversification(attention: Attention, lse: Tensor | None, threshold: float, mode: str, per_head: bool) -> Tensor:
    """ADL of attention that the kernels :func:`fit`.

    Args:
        attention: of one layer.
        lse: ``(B, H, Nq)`` float32, logarithm of the softmax's normalizer; None computes it.
        threshold: what an entry of a map must reach, in ``'official'`` mode exceed.
        mode, per_head: as in :func:`~mmrobust.ops.attention_diversification`.

    Returns:
        Scalar in [0, 1], float32.
    """
    query, key = attention.query, attention.key
    if lse is None:
        lse = torch.ops.mmrobust.log_sum_exp(query.detach(), key.detach())
    if not torch.is_grad_enabled() or not (query.requires_grad or key.requires_grad):
        gradients = 'none'
    else:
        gradients = 'made' if torch.compiler.is_compiling() or _MADE.get() else 'later'
    options = threshold, mode, per_head, gradients
    return torch.ops.mmrobust.attention_diversification(query, key, lse, *options)[0]


def attention_and_normalizer(attention: Attention, value: Tensor) -> tuple[Tensor, Tensor | None]:
    """The output of ``scaled_dot_product_attention``, and the logarithm of the softmax's normalizer ``(B, H, Nq)``.

    PyTorch does not give the second away, but those of its operators that compute both do: so the one that it would
    choose is called by name. None where it would choose another one.
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
    return attention_output(attention, value), None


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
        from mmrobust.ops import attention_diversification_triton

        return attention_diversification_triton.log_sum_exp(query, key)

    def in_blocks() -> Tensor:
        rows = max(1, 2**25 // max(1, query.size(0) * query.size(1) * key.size(2)))
        keys = key.float().transpose(-2, -1)
        return torch.cat([(part.float() @ keys).logsumexp(-1) for part in query.split(rows, 2)], -1)

    return kernels.run_or(by_kernels, in_blocks)


@_log_sum_exp.register_fake
def _(query: Tensor, key: Tensor) -> Tensor:
    return query.new_empty(query.shape[:3], dtype=torch.float32)


@torch.library.custom_op('mmrobust::attention_diversification', mutates_args=())
def _attention_diversification(
    query: Tensor, key: Tensor, lse: Tensor, threshold: float, mode: str, per_head: bool, gradients: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and its gradients of query and key: ``'made'``, NaN for ``'later'``, or empty for ``'none'``."""

    def by_kernels() -> tuple[Tensor, ...]:
        from mmrobust.ops import attention_diversification_triton

        operands = [one if one.stride(-1) == 1 else one.contiguous() for one in (query, key)]
        grads = [_grad_like(one) for one in operands] if gradients == 'made' else None
        loss = attention_diversification_triton.diversification(*operands, lse, threshold, mode, per_head, grads)
        return loss, *(grads or ())

    def in_blocks() -> tuple[Tensor, ...]:
        attention, official = Attention(query.float(), key.float()), mode == 'official'
        kept = Kept(threshold, None, official, official, per_head, None)
        _, *sums = attention_sums_blocks.forward(attention, None, kept)
        loss, *grads_of_sums = _loss_of_sums(Sums(*sums), threshold, mode)
        if gradients != 'made':
            return (loss,)
        return loss, *attention_sums_blocks.backward(attention, None, kept, None, *grads_of_sums)[:2]

    loss, *grads = kernels.run_or(by_kernels, in_blocks)
    if gradients == 'none':
        return loss, *_no_grads(query)
    if gradients == 'later':
        return loss, *(_grad_like(one).fill_(float('nan')) for one in (query, key))
    # in the memory layout that the compiler expects
    return loss, *(_as(like, grad) for like, grad in zip((query, key), grads, strict=True))


def _loss_of_sums(sums: Sums, threshold: float, mode: str) -> tuple[Tensor, Tensor, Tensor]:
    """ADL of maps that are each a single region, and its gradients of the two sums over rows: as in the kernels."""
    of_rows, of_directions, inv_norms = sums
    num_rows, num_cosines = inv_norms.size(-1), inv_norms.numel()
    if mode == 'pairwise':
        share = 1 / (num_cosines * max(1, num_rows - 1))
        pairs = of_directions.square().sum() - (inv_norms > 0).sum()
        return share * pairs, torch.zeros_like(of_rows), 2 * share * of_directions
    mean = of_rows * (of_rows > threshold * num_rows) if mode == 'official' else of_rows
    # a mean that is all zero has cosine 0, and no gradient; one that is not is far above the smallest number
    norm = torch.linalg.vector_norm(mean, dim=-1, keepdim=True).clamp(min=torch.finfo(mean.dtype).tiny)
    unit = mean / norm
    cosine = (of_directions * unit).sum(-1, keepdim=True)
    grad_of_rows = torch.addcmul(of_directions, cosine, unit, value=-1) / (norm * num_cosines)
    return cosine.sum() / num_cosines, torch.where(mean > 0, grad_of_rows, 0.0), unit / num_cosines


def _grad_like(x: Tensor) -> Tensor:
    """Memory for a gradient that is yet to be multiplied by its factor: float16 would be too small for it."""
    return torch.empty_like(x, dtype=torch.float32 if x.dtype == torch.float16 else x.dtype)


def _no_grads(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(0), x.new_empty(0)


def _as(x: Tensor, grad: Tensor) -> Tensor:
    like = _grad_like(x)
    same = grad.dtype == like.dtype and grad.stride() == like.stride()
    return grad if same else like.copy_(grad)


@_attention_diversification.register_fake
def _(query, key, lse, threshold, mode, per_head, gradients):
    grads = _no_grads(query) if gradients == 'none' else [_grad_like(one) for one in (query, key)]
    return query.new_empty((), dtype=torch.float32), *grads


def _setup_context(ctx, inputs: tuple, output: tuple) -> None:
    ctx.dtype = inputs[0].dtype
    _, *grads = output
    ctx.mark_non_differentiable(*grads)
    ctx.save_for_backward(*grads)


def _backward(ctx, grad_loss: Tensor, *_) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        # it would miss, silently, how the gradients depend on the inputs
        raise RuntimeError('ADL has no second derivative, but one was asked for with create_graph=True')
    grads = ((grad_loss * grad).to(ctx.dtype) for grad in ctx.saved_tensors)
    return *grads, None, None, None, None, None


_attention_diversification.register_autograd(_backward, setup_context=_setup_context)
