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

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

ADL_MODES = ('paper', 'official')

# Entries of a (images, H, rows, N) block that stay in a CPU core's cache; measured best at 64 to 128 rows for N = 4096.
_BLOCK_ENTRIES = {'cpu': 2**21}
_BLOCK_ENTRIES_ACCELERATOR = 2**25


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
    if (query_regions is None) != (key_regions is None):
        raise ValueError('query_regions and key_regions of ADL must be given together, got only one of them')
    block_entries = block_entries or _BLOCK_ENTRIES.get(query.device.type, _BLOCK_ENTRIES_ACCELERATOR)
    with torch.autocast(query.device.type, enabled=False):
        dtype = torch.promote_types(query.dtype, torch.float32)
        query, key = query.to(dtype), key.to(dtype)
        gate = None if gate is None else gate.to(dtype)
        bias = None if bias is None else bias.to(dtype)
        view = (query, key, gate, bias, query_regions, key_regions)
        return _AttentionDiversification.apply(*view, float(tau), mode, per_head, block_entries)


class _Regions(NamedTuple):
    """Which rows are compared with each other. The leading axis is 1 for a single region, the same in all images."""

    of_keys: Tensor  # (B or 1, 1, Nk, S), 1 where a key lies in a region, else 0
    num_rows: Tensor  # scalar, rows of the batch that lie in a region
    threshold_of_rows: Tensor  # (B or 1, 1, Nq, 1), tau over the keys of the row's region; infinity for no region
    threshold_of_keys: Tensor  # (B or 1, 1, Nk), the same for a key's region
    rows_of_keys: Tensor  # (B or 1, 1, Nk), rows of the key's region, at least 1

    def total(self, per_key: Tensor) -> Tensor:
        """``(B, G, Nk)`` summed over each region, and given to all of its keys: the same shape."""
        sums = (per_key.unsqueeze(-1) * self.of_keys).sum(-2, keepdim=True)
        return (sums * self.of_keys).sum(-1)


def _regions(query: Tensor, key: Tensor, masks: tuple[Tensor | None, Tensor | None], tau: float) -> _Regions:
    of_queries, of_keys = (
        tokens.new_ones(1, 1, tokens.size(-2), 1)
        if mask is None
        else mask.to(tokens.dtype).transpose(-2, -1).unsqueeze(1)
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


class _Block(NamedTuple):
    """Where a block lies, and what is needed of it."""

    images: slice
    rows: slice
    scores: Tensor  # (images, H, rows, Nk), before gate and bias
    probs: Tensor  # (images, H, rows, Nk)
    maps: Tensor  # (images, G, rows, Nk), averaged over the heads of a group
    counted: Tensor  # (images or 1, 1, rows, 1), bool: rows that lie in a region
    kept: Tensor  # (images, G, rows, Nk), bool: above the threshold
    inv_norms: Tensor  # (images, G, rows, 1), 1 / |row|, and 0 for a row that is all zero


def _blocks(
    query: Tensor,
    key: Tensor,
    gate: Tensor | None,
    bias: Tensor | None,
    thresholds: Tensor,
    mode: str,
    per_head: bool,
    block_entries: int,
) -> Iterator[_Block]:
    batch, heads, num_queries, _ = query.shape
    num_keys = key.size(-2)
    num_rows = min(num_queries, max(1, block_entries // (heads * num_keys)))
    num_images = min(batch, max(1, block_entries // (heads * num_rows * num_keys)))
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
            threshold = _part(thresholds, images, rows)
            kept = maps >= threshold if mode == 'paper' else maps > threshold
            norms = torch.linalg.vector_norm(maps * kept, dim=-1, keepdim=True)
            yield _Block(images, rows, scores, probs, maps, threshold < torch.inf, kept, _inverse(norms))


def _part(full: Tensor, images: slice, rows: slice) -> Tensor:
    """Rows of a gate, bias or threshold whose leading axes may be missing or 1."""
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
        query_regions: Tensor | None,
        key_regions: Tensor | None,
        tau: float,
        mode: str,
        per_head: bool,
        block_entries: int,
    ) -> Tensor:
        batch, heads = query.shape[:2]
        groups = heads if per_head else 1
        regions = _regions(query, key, (query_regions, key_regions), tau)
        row_sum = query.new_zeros(batch, groups, key.size(-2))
        direction_sum = torch.zeros_like(row_sum)  # c of the module docstring
        for block in _blocks(query, key, gate, bias, regions.threshold_of_rows, mode, per_head, block_entries):
            kept = block.maps * block.kept
            row_sum[block.images] += (kept if mode == 'paper' else block.maps * block.counted).sum(-2)
            direction_sum[block.images] += (kept * block.inv_norms).sum(-2)
        mean = row_sum / regions.rows_of_keys
        if mode == 'official':
            mean = mean * (mean > regions.threshold_of_keys)
        ctx.save_for_backward(query, key, gate, bias, query_regions, key_regions, mean, direction_sum)
        ctx.options = (tau, mode, per_head, block_entries)
        unit = mean * _inverse(regions.total(mean**2).sqrt())
        return (direction_sum * unit).sum() / (groups * regions.num_rows.clamp(min=1))

    @staticmethod
    def backward(ctx, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            # it would miss, silently, how the sums of the forward pass depend on the inputs
            raise RuntimeError('ADL has no second derivative, but one was asked for with create_graph=True')
        query, key, gate, bias, query_regions, key_regions, mean, direction_sum = ctx.saved_tensors
        tau, mode, per_head, block_entries = ctx.options
        heads = query.size(1)
        groups = heads if per_head else 1
        regions = _regions(query, key, (query_regions, key_regions), tau)
        scale = grad_out / (groups * regions.num_rows.clamp(min=1))
        inv_mean_norm = _inverse(regions.total(mean**2).sqrt())
        unit = mean * inv_mean_norm
        grad_mean = scale * inv_mean_norm * (direction_sum - regions.total(direction_sum * unit) * unit)
        if mode == 'official':
            grad_mean = grad_mean * (mean > 0)
        # (B, G, 1, Nk) to meet the rows of a block
        grad_from_mean = (grad_mean / regions.rows_of_keys).unsqueeze(-2)
        unit = unit.unsqueeze(-2)

        grad_query = torch.empty_like(query)
        grad_key = torch.zeros_like(key)
        grad_gate = None if gate is None else torch.zeros_like(gate)
        grad_bias = None if bias is None else torch.zeros_like(bias)
        for block in _blocks(query, key, gate, bias, regions.threshold_of_rows, mode, per_head, block_entries):
            images, rows, inv_norms = block.images, block.rows, block.inv_norms
            kept = block.maps * block.kept
            along_unit = (kept * unit[images]).sum(-1, keepdim=True)
            grad_maps = scale * (unit[images] * inv_norms - kept * (along_unit * inv_norms**3))
            if mode == 'paper':
                grad_maps = (grad_maps + grad_from_mean[images]) * block.kept
            else:
                grad_maps = grad_maps * block.kept + grad_from_mean[images] * block.counted
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
        return grad_query, grad_key, grad_gate, grad_bias, *(None,) * 6


def _add_to_part(total: Tensor, grad: Tensor, images: slice, rows: slice) -> None:
    part = _part(total, images, rows)
    part += grad.sum_to_size(part.shape)
