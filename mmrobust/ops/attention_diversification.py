"""Attention diversification (ADL) of one layer: the plain formula, and a form that never holds an attention map.

Paper, Sec. 3.3. With ``A`` the attention probabilities of one layer (averaged over heads, or of one head), ``N`` the
number of tokens and ``t = tau / N``::

    Â_i = 1[A_i >= t] * A_i                        (1)   small entries are dropped
    Ā   = 1/N * sum_i Â_i
    L   = 1/N * sum_i cos(Â_i, Ā)                  (2)   a row or a mean that is all zero has cosine 0

``mode='official'`` is what the released code computes instead: ``A_i > t``, and as mean vector ``s * 1[s > t]`` with
``s`` the mean of the *un*-thresholded rows. It is blind (value and gradient exactly 0) wherever no key column is
attended to by more than ``t`` on average. It differs from the released code for a batch of one image, where a stray
``squeeze`` makes the released loss 0 whatever the attention is; here a batch of one is the mean over one image.

How the map is avoided. With ``n_i = |Â_i|`` and ``c = sum_i Â_i / n_i``, the loss is ``c . v / (N |v|)`` for the mean
vector ``v``: both sums are collected in one sweep over blocks of rows. The backward pass is one more sweep, in which a
block's probabilities are computed again, its ``d_i = Â_i . v`` found, and the gradient

    dL/dÂ_ij = 1/N * (v_j / (n_i |v|) - d_i Â_ij / (n_i^3 |v|))   +   (dL/dv_j) / N
    dL/dv_j  = 1/N * (c_j / |v| - (c . v) v_j / |v|^3)

is taken through the softmax to the block's queries and to all keys. Memory is O(N) and does not grow with the layers.
"""

# B batch, H heads, G groups of heads (1: averaged, H: each its own), N tokens, R rows of a block, D channels per head

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

ADL_MODES = ('paper', 'official')

# Entries of a (images, H, rows, N) block that stay in a CPU core's cache; measured best at 64 to 128 rows for N = 4096.
_BLOCK_ENTRIES = {'cpu': 2**21}
_BLOCK_ENTRIES_ACCELERATOR = 2**25


def attention_diversification_reference(
    attn: Tensor, tau: float = 2.0, mode: str = 'paper', per_head: bool = False
) -> Tensor:
    """Eq. (1)-(2) for one layer, written down as printed.

    Args:
        attn: attention probabilities ``(B, H, Nq, Nk)``, rows sum to 1.
        tau: threshold in units of the uniform attention ``1 / Nk``, >= 0.
        mode: ``'paper'`` or ``'official'`` (module docstring).
        per_head: compare rows head by head instead of averaging the heads first.

    Returns:
        Scalar in [0, 1]: mean over batch (and heads when ``per_head``).
    """
    maps = attn if per_head else attn.mean(1, keepdim=True)
    threshold = tau / attn.size(-1)
    if mode == 'paper':
        kept = maps * (maps >= threshold)
        mean = kept.mean(-2, keepdim=True)
    else:
        kept = maps * (maps > threshold)
        mean = maps.mean(-2, keepdim=True)
        mean = mean * (mean > threshold)
    return torch.cosine_similarity(kept, mean, dim=-1).mean()


def attention_diversification(
    query: Tensor,
    key: Tensor,
    gate: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    tau: float = 2.0,
    mode: str = 'paper',
    per_head: bool = False,
    block_entries: int | None = None,
) -> Tensor:
    """:func:`attention_diversification_reference` of ``softmax(query @ key^T * gate + bias)``, without the map.

    Args:
        query: ``(B, H, Nq, D)``, scaled.
        key: ``(B, H, Nk, D)``.
        gate: broadcastable to ``(B, H, Nq, Nk)`` with both token axes present, or None.
        bias: broadcastable to ``(B, H, Nq, Nk)`` with both token axes present, or None.
        tau: threshold in units of the uniform attention ``1 / Nk``, >= 0.
        mode: ``'paper'`` or ``'official'`` (module docstring).
        per_head: compare rows head by head instead of averaging the heads first.
        block_entries: how many map entries are alive at once; None chooses by device.

    Returns:
        Scalar in [0, 1], ``float64`` for a ``float64`` query and ``float32`` otherwise, also inside autocast.
    """
    block_entries = block_entries or _BLOCK_ENTRIES.get(query.device.type, _BLOCK_ENTRIES_ACCELERATOR)
    with torch.autocast(query.device.type, enabled=False):
        dtype = torch.promote_types(query.dtype, torch.float32)
        query, key = query.to(dtype), key.to(dtype)
        gate = None if gate is None else gate.to(dtype)
        bias = None if bias is None else bias.to(dtype)
        return _AttentionDiversification.apply(query, key, gate, bias, float(tau), mode, per_head, block_entries)


class _Block(NamedTuple):
    """Where a block lies, and what is needed of it."""

    images: slice
    rows: slice
    scores: Tensor  # (images, H, R, Nk), before gate and bias
    probs: Tensor  # (images, H, R, Nk)
    maps: Tensor  # (images, G, R, Nk), averaged over the heads of a group
    kept: Tensor  # (images, G, R, Nk), bool: above the threshold
    inv_norms: Tensor  # (images, G, R, 1), 1 / |row|, and 0 for a row that is all zero


def _blocks(
    query: Tensor,
    key: Tensor,
    gate: Tensor | None,
    bias: Tensor | None,
    tau: float,
    mode: str,
    per_head: bool,
    block_entries: int,
) -> Iterator[_Block]:
    batch, heads, num_queries, _ = query.shape
    num_keys = key.size(-2)
    num_rows = min(num_queries, max(1, block_entries // (heads * num_keys)))
    num_images = min(batch, max(1, block_entries // (heads * num_rows * num_keys)))
    threshold = tau / num_keys
    for image in range(0, batch, num_images):
        images = slice(image, image + num_images)
        for row in range(0, num_queries, num_rows):
            rows = slice(row, row + num_rows)
            scores = query[images, :, rows] @ key[images].transpose(-2, -1)
            logits = scores
            if gate is not None:
                logits = logits * _part(gate, images, rows)
            if bias is not None:
                logits = logits + _part(bias, images, rows)
            probs = logits.softmax(-1)
            maps = probs if per_head else probs.mean(1, keepdim=True)
            kept = maps >= threshold if mode == 'paper' else maps > threshold
            norms = torch.linalg.vector_norm(maps * kept, dim=-1, keepdim=True)
            yield _Block(images, rows, scores, probs, maps, kept, _inverse(norms))


def _part(full: Tensor, images: slice, rows: slice) -> Tensor:
    """Rows of a gate or bias whose leading axes may be missing or 1."""
    part = full[..., rows, :]
    return part[images] if part.dim() == 4 and part.size(0) > 1 else part


def _inverse(norms: Tensor) -> Tensor:
    return torch.where(norms > 0, 1 / norms, torch.zeros_like(norms))


class _AttentionDiversification(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        query: Tensor,
        key: Tensor,
        gate: Tensor | None,
        bias: Tensor | None,
        tau: float,
        mode: str,
        per_head: bool,
        block_entries: int,
    ) -> Tensor:
        batch, heads, num_queries, _ = query.shape
        num_keys = key.size(-2)
        groups = heads if per_head else 1
        row_sum = query.new_zeros(batch, groups, num_keys)
        direction_sum = query.new_zeros(batch, groups, num_keys)  # c of the module docstring
        for block in _blocks(query, key, gate, bias, tau, mode, per_head, block_entries):
            kept = block.maps * block.kept
            row_sum[block.images] += (kept if mode == 'paper' else block.maps).sum(-2)
            direction_sum[block.images] += (kept * block.inv_norms).sum(-2)
        mean = row_sum / num_queries
        if mode == 'official':
            mean = mean * (mean > tau / num_keys)
        ctx.save_for_backward(query, key, gate, bias, mean, direction_sum)
        ctx.options = (tau, mode, per_head, block_entries)
        inv_mean_norm = _inverse(torch.linalg.vector_norm(mean, dim=-1))
        return ((direction_sum * mean).sum(-1) * inv_mean_norm / num_queries).mean()

    @staticmethod
    def backward(ctx, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            # it would miss, silently, how the sums of the forward pass depend on the inputs
            raise RuntimeError('ADL has no second derivative, but one was asked for with create_graph=True')
        query, key, gate, bias, mean, direction_sum = ctx.saved_tensors
        tau, mode, per_head, block_entries = ctx.options
        batch, heads, num_queries, _ = query.shape
        groups = heads if per_head else 1
        scale = grad_out / (batch * groups * num_queries)
        inv_mean_norm = _inverse(torch.linalg.vector_norm(mean, dim=-1, keepdim=True))
        along = (direction_sum * mean).sum(-1, keepdim=True)
        grad_mean = scale * (direction_sum * inv_mean_norm - along * mean * inv_mean_norm**3)
        if mode == 'official':
            grad_mean = grad_mean * (mean > 0)
        # rows enter the mean with weight 1 / Nq; (B, G, 1, Nk) to meet the rows of a block
        grad_from_mean = (grad_mean / num_queries).unsqueeze(-2)
        direction = mean.unsqueeze(-2)
        row_scale = scale * inv_mean_norm.unsqueeze(-2)

        grad_query = torch.empty_like(query)
        grad_key = torch.zeros_like(key)
        grad_gate = None if gate is None else torch.zeros_like(gate)
        grad_bias = None if bias is None else torch.zeros_like(bias)
        for block in _blocks(query, key, gate, bias, tau, mode, per_head, block_entries):
            images, rows, inv_norms = block.images, block.rows, block.inv_norms
            kept = block.maps * block.kept
            along_mean = (kept * direction[images]).sum(-1, keepdim=True)
            grad_maps = row_scale[images] * (direction[images] * inv_norms - kept * (along_mean * inv_norms**3))
            if mode == 'paper':
                grad_maps = (grad_maps + grad_from_mean[images]) * block.kept
            else:
                grad_maps = grad_maps * block.kept + grad_from_mean[images]
            if not per_head:
                grad_maps = grad_maps / heads
            grad_logits = block.probs * grad_maps
            grad_logits = grad_logits - block.probs * grad_logits.sum(-1, keepdim=True)
            if bias is not None:
                _add_to_part(grad_bias, grad_logits, images, rows)
            if gate is not None:
                _add_to_part(grad_gate, grad_logits * block.scores, images, rows)
                grad_logits = grad_logits * _part(gate, images, rows)
            grad_query[images, :, rows] = grad_logits @ key[images]
            grad_key[images] += grad_logits.transpose(-2, -1) @ query[images, :, rows]
        return grad_query, grad_key, grad_gate, grad_bias, None, None, None, None


def _add_to_part(total: Tensor, grad: Tensor, images: slice, rows: slice) -> None:
    part = _part(total, images, rows)
    part += grad.sum_to_size(part.shape)
