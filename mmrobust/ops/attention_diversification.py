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

Regions. Where a mask splits the tokens into regions that do not see each other, as in a shifted window of Swin, each
region is an attention map of its own: ``N`` is the number of its keys, ``Ā`` the mean of its rows. ``L`` is the mean
over all rows of all regions. A query that lies in no region, such as one of padding, takes no part.

How the map is avoided. With ``n_i = |Â_i|``, ``c = sum_i Â_i / n_i`` and ``u = v / |v|`` for the mean vector ``v``, the
loss is ``c . u / N``: both sums are collected in one sweep over blocks of rows. The backward pass is one more sweep, in
which a block's probabilities are computed again, and the gradient

    dL/dÂ_ij = 1/N * (u_j / n_i - (Â_i . u) Â_ij / n_i^3)   +   (dL/dv_j) / N
    dL/dv_j  = 1/N * (c_j - (c . u) u_j) / |v|

is taken through the softmax to the block's queries and to all keys. Memory is O(N) and does not grow with the layers.
Rows of different regions share no key, so all regions are summed up in the same ``v`` and ``c``; only ``|v|`` and
``c . u`` are taken region by region.
"""

# B batch, H heads, G groups of heads (1: averaged, H: each its own), N tokens, D channels per head, S regions

from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrobust.ops import attention_diversification_blocks
from mmrobust.ops.attention_diversification_blocks import Attention, inverse
from mmrobust.ops.triton_choice import triton_wanted

ADL_MODES = ('paper', 'official')


def attention_diversification_reference(
    attn: Tensor,
    tau: float = 2.0,
    mode: str = 'paper',
    per_head: bool = False,
    query_regions: Tensor | None = None,
    key_regions: Tensor | None = None,
) -> Tensor:
    """Eq. (1)-(2) for one layer, written down as printed.

    Args:
        attn: attention probabilities ``(B, H, Nq, Nk)``, rows sum to 1.
        tau: threshold in units of the uniform attention ``1 / Nk``, >= 0.
        mode: ``'paper'`` or ``'official'`` (module docstring).
        per_head: compare rows head by head instead of averaging the heads first.
        query_regions: bool ``(B, S, Nq)``, which queries lie in each region, or None for a single region.
        key_regions: bool ``(B, S, Nk)``, the same for keys; given together with ``query_regions``.

    Returns:
        Scalar in [0, 1]: mean over all rows of the batch (and heads when ``per_head``).
    """
    if query_regions is None:
        return _row_similarities(attn, tau, mode, per_head).mean()
    cut_out = [
        attn[image : image + 1, :, rows][..., keys]
        for image in range(attn.size(0))
        for rows, keys in zip(query_regions[image], key_regions[image], strict=True)
        if rows.any()
    ]
    return torch.cat([_row_similarities(part, tau, mode, per_head).flatten() for part in cut_out]).mean()


def _row_similarities(attn: Tensor, tau: float, mode: str, per_head: bool) -> Tensor:
    """The cosines of Eq. (2), ``(B, G, Nq)``."""
    maps = attn if per_head else attn.mean(1, keepdim=True)
    threshold = tau / attn.size(-1)
    if mode == 'paper':
        kept = maps * (maps >= threshold)
        mean = kept.mean(-2, keepdim=True)
    else:
        kept = maps * (maps > threshold)
        mean = maps.mean(-2, keepdim=True)
        mean = mean * (mean > threshold)
    return torch.cosine_similarity(kept, mean, dim=-1)


def attention_diversification(
    query: Tensor,
    key: Tensor,
    gate: Tensor | None = None,
    bias: Tensor | None = None,
    query_regions: Tensor | None = None,
    key_regions: Tensor | None = None,
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
        bias: broadcastable to ``(B, H, Nq, Nk)`` with both token axes present, or None. May hold ``-inf``.
        query_regions: bool ``(B, S, Nq)``, which queries lie in each region, or None for a single region. Between
            regions the ``bias`` must be ``-inf``, or so low that the probability is 0.
        key_regions: bool ``(B, S, Nk)``, the same for keys; given together with ``query_regions``.
        tau: threshold in units of the uniform attention ``1 / Nk``, >= 0.
        mode: ``'paper'`` or ``'official'`` (module docstring).
        per_head: compare rows head by head instead of averaging the heads first.
        block_entries: how many map entries are alive at once; None chooses by device.

    Returns:
        Scalar in [0, 1], ``float64`` for a ``float64`` query and ``float32`` otherwise, also inside autocast.

    Raises:
        ValueError: if only one of ``query_regions`` and ``key_regions`` is given.
    """
    view = (query, key, gate, bias, query_regions, key_regions)
    return _apply(view, None, dict(tau=tau, mode=mode, per_head=per_head, block_entries=block_entries))


def diversified_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    gate: Tensor | None = None,
    bias: Tensor | None = None,
    query_regions: Tensor | None = None,
    key_regions: Tensor | None = None,
    *,
    tau: float = 2.0,
    mode: str = 'paper',
    per_head: bool = False,
    block_entries: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``softmax(query @ key^T * gate + bias) @ value``, and :func:`attention_diversification` of the same attention.

    On a CPU, and with a ``gate``, which ``scaled_dot_product_attention`` does not take, both are made in the same
    sweeps: the probabilities of a block serve the output and the loss.

    Args:
        value: ``(B, H, Nk, D)``. The others as in :func:`attention_diversification`.

    Returns:
        The output ``(B, H, Nq, D)`` in the dtype of ``value``, and the loss.
    """
    view = (query, key, gate, bias, query_regions, key_regions)
    options = dict(tau=tau, mode=mode, per_head=per_head, block_entries=block_entries)
    if gate is None and (query.device.type != 'cpu' or value.dtype not in (torch.float32, torch.float64)):
        bias = None if bias is None else bias.to(query.dtype)
        out = F.scaled_dot_product_attention(query, key, value, bias, scale=1.0)
        return out, attention_diversification(*view, **options)
    out, loss = _apply(view, value, options)
    return out.to(value.dtype), loss


def _apply(view: tuple[Tensor | None, ...], value: Tensor | None, options: dict) -> Tensor | tuple[Tensor, Tensor]:
    query, key, gate, bias, query_regions, key_regions = view
    if (query_regions is None) != (key_regions is None):
        raise ValueError('query_regions and key_regions of ADL must be given together, got only one of them')
    tensors = [query, key, value, gate, bias]
    sweeps = _sweeps(*tensors)
    with torch.autocast(query.device.type, enabled=False):
        if sweeps is attention_diversification_blocks:
            dtype = torch.promote_types(query.dtype, torch.float32)
            tensors = [None if tensor is None else tensor.to(dtype) for tensor in tensors]
        return _AttentionDiversification.apply(*tensors, query_regions, key_regions, _Options(**options), sweeps)


def _sweeps(query: Tensor, key: Tensor, value: Tensor | None, gate: Tensor | None, bias: Tensor | None) -> ModuleType:
    """The module that sweeps over the attention here."""
    if triton_wanted(query) and value is None:
        from mmrobust.ops import attention_diversification_triton

        if attention_diversification_triton.supports(Attention(query, key, gate, bias, None, 'paper', False, None)):
            return attention_diversification_triton
    return attention_diversification_blocks


class _Options(NamedTuple):
    tau: float
    mode: str
    per_head: bool
    block_entries: int | None

    @property
    def of_sweeps(self) -> tuple[str, bool, int | None]:
        return self.mode, self.per_head, self.block_entries


class _Regions(NamedTuple):
    """Which rows are compared with each other. The leading axis is 1 for a single region, the same in all images."""

    of_keys: Tensor  # (B or 1, 1, Nk, S), 1 where a key lies in a region, else 0
    num_rows: Tensor  # scalar, rows of the batch that lie in a region
    threshold_of_rows: Tensor  # (B or 1, 1, Nq, 1), tau over the keys of the row's region; infinity for no region
    threshold_of_keys: Tensor  # (B or 1, 1, Nk), the same for a key's region
    rows_of_keys: Tensor  # (B or 1, 1, Nk), rows of the key's region, at least 1

    def num_cosines(self, per_key: Tensor) -> Tensor:
        """What the sum of all cosines is divided by: rows of the batch, times groups of ``per_key`` ``(B, G, Nk)``."""
        return per_key.size(1) * self.num_rows.clamp(min=1)

    def total(self, per_key: Tensor) -> Tensor:
        """``(B, G, Nk)`` summed over each region, and given to all of its keys: the same shape."""
        sums = (per_key.unsqueeze(-1) * self.of_keys).sum(-2, keepdim=True)
        return (sums * self.of_keys).sum(-1)


def _regions(query: Tensor, key: Tensor, masks: tuple[Tensor | None, Tensor | None], tau: float) -> _Regions:
    dtype = torch.promote_types(query.dtype, torch.float32)  # which can count all tokens
    of_queries, of_keys = (
        tokens.new_ones(1, 1, tokens.size(-2), 1, dtype=dtype)
        if mask is None
        else mask.to(dtype).transpose(-2, -1).unsqueeze(1)
        for tokens, mask in zip((query, key), masks, strict=True)
    )
    num_queries, num_keys = of_queries.sum(-2, keepdim=True), of_keys.sum(-2, keepdim=True)  # (B or 1, 1, 1, S)
    keys_of_rows = (of_queries * num_keys).sum(-1, keepdim=True)
    keys_of_keys = (of_keys * num_keys).sum(-1)
    return _Regions(
        of_keys=of_keys,
        num_rows=(keys_of_rows > 0).sum() * (query.size(0) // keys_of_rows.size(0)),
        threshold_of_rows=torch.where(keys_of_rows > 0, tau / keys_of_rows.clamp(min=1), torch.inf),
        threshold_of_keys=tau / keys_of_keys.clamp(min=1),
        rows_of_keys=(of_keys * num_queries).sum(-1).clamp(min=1),
    )


class _AttentionDiversification(torch.autograd.Function):
    """``loss``, or ``(out, loss)`` where there is a value."""

    @staticmethod
    def forward(
        ctx,
        query: Tensor,
        key: Tensor,
        value: Tensor | None,
        gate: Tensor | None,
        bias: Tensor | None,
        query_regions: Tensor | None,
        key_regions: Tensor | None,
        options: _Options,
        sweeps: ModuleType,
    ) -> Tensor | tuple[Tensor, Tensor]:
        regions = _regions(query, key, (query_regions, key_regions), options.tau)
        attention = Attention(query, key, gate, bias, regions.threshold_of_rows, *options.of_sweeps)
        out, row_sum, direction_sum, *rows = sweeps.forward_sweep(attention, value)
        mean = row_sum / regions.rows_of_keys
        if options.mode == 'official':
            mean = mean * (mean > regions.threshold_of_keys)
        ctx.save_for_backward(query, key, value, gate, bias, query_regions, key_regions, mean, direction_sum, *rows)
        ctx.options, ctx.sweeps = options, sweeps
        unit = mean * inverse(regions.total(mean**2).sqrt())
        loss = (direction_sum * unit).sum() / regions.num_cosines(mean)
        return loss if value is None else (out, loss)

    @staticmethod
    def backward(ctx, *grads_of_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            # it would miss, silently, how the sums of the forward pass depend on the inputs
            raise RuntimeError('ADL has no second derivative, but one was asked for with create_graph=True')
        query, key, value, gate, bias, query_regions, key_regions, mean, direction_sum, *rows = ctx.saved_tensors
        grad_out, grad_loss = (None, *grads_of_outputs) if value is None else grads_of_outputs
        regions = _regions(query, key, (query_regions, key_regions), ctx.options.tau)
        attention = Attention(query, key, gate, bias, regions.threshold_of_rows, *ctx.options.of_sweeps)
        scale = grad_loss / regions.num_cosines(mean)
        inv_mean_norm = inverse(regions.total(mean**2).sqrt())
        unit = mean * inv_mean_norm
        grad_mean = scale * inv_mean_norm * (direction_sum - regions.total(direction_sum * unit) * unit)
        if ctx.options.mode == 'official':
            grad_mean = grad_mean * (mean > 0)
        grad_row = grad_mean / regions.rows_of_keys
        grads = ctx.sweeps.backward_sweep(attention, value, grad_out, unit, grad_row, scale, *rows)
        return *grads, None, None, None, None
