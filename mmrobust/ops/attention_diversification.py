"""Attention diversification (ADL) of one layer: the plain formulas, and a form that never holds all attention maps.

Paper, Sec. 3.3. With ``A`` the attention probabilities of one layer (averaged over heads, or of one head), ``N`` the
number of tokens and ``t = tau / N``::

    Â_i = 1[A_i >= t] * A_i                        (1)   small entries are dropped
    Ā   = 1/N * sum_i Â_i
    L   = 1/N * sum_i cos(Â_i, Ā)                  (2)   a row or a mean that is all zero has cosine 0

``mode='official'`` is what the released code computes instead: ``A_i > t``, and as mean vector ``s * 1[s > t]`` with
``s`` the mean of the *un*-thresholded rows. It is blind (value and gradient exactly 0) wherever no key column is
attended to by more than ``t`` on average. It differs from the released code for a batch of one image, where a stray
``squeeze`` makes the released loss 0 whatever the attention is; here a batch of one is the mean over one image.

``mode='pairwise'`` is what Eq. (2) stands in for, the mean cosine over all pairs of different rows, which the paper
gives up "to avoid the quadratic complexity". It has none: with ``c = sum_i Â_i / |Â_i|`` and ``n`` rows that keep
anything, ``sum_(i != j) cos(Â_i, Â_j) = |c|^2 - n``, so ``L = (|c|^2 - n) / (N (N - 1))``. Rows that have nothing in
common score 0 here, and ``1 / sqrt(N)`` in Eq. (2). A single row has no pair, and scores 0.

Regions. Where a mask splits the tokens into regions that do not see each other, as in a shifted window of Swin, each
region is an attention map of its own: ``N`` is the number of its keys in the threshold, and of its rows elsewhere.
``L`` is the mean over all rows of all regions, in pairwise mode of a row's mean cosine with the others of its region. A
query that lies in no region, such as one of padding, takes no part.

How the maps are avoided. Every form is a function of two sums over rows, ``sum_i Â_i`` (or ``sum_i A_i``) and ``c``.
One operator collects them (:mod:`mmrobust.ops.attention_sums`), on a GPU one goes from query and key to the loss
(:mod:`mmrobust.ops.attention_diversification_kernels`); with ``u = v / |v|`` for the mean vector ``v``, Eq. (2)
is ``c . u / N``. Rows of different regions share no key, so all regions are summed up in the same vectors; only ``|v|``
and the counts are taken region by region.

Sampled rows. ``sample_rows=n`` computes ``L`` from n query rows of each image, drawn anew without replacement at every
call, instead of all of them: n / N of the cost. In pairwise mode the estimate is unbiased. In the other modes it is
biased upwards, as a mean of fewer rows is nearer to each of them (docs/explanation/performance.md measures bias and
variance).
"""

# B batch, H heads, G groups of heads (1: averaged, H: each its own), N tokens, D channels per head, S regions

from typing import NamedTuple

import torch
from torch import Tensor

from mmrobust.ops import attention_diversification_kernels
from mmrobust.ops.attention import Attention, attention_output
from mmrobust.ops.attention_sums import Kept, Sums, attention_sums, attention_with_sums
from mmrobust.ops.attention_sums_blocks import kept_entries

ADL_MODES = ('paper', 'official', 'pairwise')


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
    """Values averaged over rows, ``(B, G, Nq)``: cosines of Eq. (2), or a row's mean cosine with all others."""
    maps = attn if per_head else attn.mean(1, keepdim=True)
    threshold = tau / attn.size(-1)
    kept = maps * (maps > threshold if mode == 'official' else maps >= threshold)
    if mode == 'pairwise':
        units = torch.nn.functional.normalize(kept, dim=-1)
        cosines = units @ units.transpose(-2, -1)
        others = ~torch.eye(attn.size(-2), dtype=torch.bool, device=attn.device)
        return (cosines * others).sum(-1) / max(1, attn.size(-2) - 1)
    if mode == 'paper':
        mean = kept.mean(-2, keepdim=True)
    else:
        mean = maps.mean(-2, keepdim=True)
        mean = mean * (mean > threshold)
    return torch.cosine_similarity(kept, mean, dim=-1)


def attention_diversification(
    attention: Attention,
    *,
    tau: float = 2.0,
    mode: str = 'paper',
    per_head: bool = False,
    sample_rows: int | None = None,
    block_entries: int | None = None,
) -> Tensor:
    """:func:`attention_diversification_reference` of :func:`~mmrobust.ops.attention_probs`, without the map.

    Args:
        attention: of one layer.
        tau: threshold in units of the uniform attention ``1 / Nk``, >= 0.
        mode: ``'paper'``, ``'official'`` or ``'pairwise'`` (module docstring).
        per_head: compare rows head by head instead of averaging the heads first.
        sample_rows: how many query rows of each image to draw, at least 2; None, or as many as there are, takes all.
        block_entries: how many map entries are alive at once; None chooses by device.

    Returns:
        Scalar in [0, 1], ``float64`` for a ``float64`` query and ``float32`` otherwise, also inside autocast.

    Raises:
        ValueError: if only one of ``query_regions`` and ``key_regions`` is given.
    """
    attention = _sampled(attention, sample_rows)
    with torch.autocast(attention.query.device.type, enabled=False):
        threshold = tau / attention.key.size(-2)
        if attention_diversification_kernels.fit(attention):
            return attention_diversification_kernels.diversification(attention, None, threshold, mode, per_head)
        regions = _regions(attention, tau)
        kept = _kept(regions, threshold, mode, per_head, block_entries)
        return _diversification(attention_sums(attention, kept), regions, mode)


def diversified_attention(
    attention: Attention,
    value: Tensor,
    *,
    tau: float = 2.0,
    mode: str = 'paper',
    per_head: bool = False,
    sample_rows: int | None = None,
    block_entries: int | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`~mmrobust.ops.attention_output`, and :func:`attention_diversification` of the same attention.

    Whatever can be shared is: the probabilities of a block of rows on a CPU, the softmax's normalizer on a GPU.

    Args:
        attention: of one layer.
        value: ``(B, H, Nk, D)``. The others as in :func:`attention_diversification`.

    Returns:
        The output ``(B, H, Nq, D)`` in the dtype of ``value``, and the loss.
    """
    with torch.autocast(attention.query.device.type, enabled=False):
        if sample_rows is not None and sample_rows < attention.query.size(-2):
            options = dict(tau=tau, mode=mode, per_head=per_head, sample_rows=sample_rows, block_entries=block_entries)
            return attention_output(attention, value), attention_diversification(attention, **options)
        threshold = tau / attention.key.size(-2)
        if attention_diversification_kernels.fit(attention):
            out, lse = attention_diversification_kernels.attention_and_normalizer(attention, value)
            return out, attention_diversification_kernels.diversification(attention, lse, threshold, mode, per_head)
        regions = _regions(attention, tau)
        kept = _kept(regions, threshold, mode, per_head, block_entries)
        out, sums = attention_with_sums(attention, value, kept)
        return out, _diversification(sums, regions, mode)


class KeptRows(NamedTuple):
    """What Eq. (1) leaves of the rows of a layer, as shares of all rows, scalars in [0, 1].

    Attributes:
        active: rows with an entry above the threshold. Where there is none, ADL is 0 and has no gradient.
        single: rows with exactly one. Their cosine with anything does not depend on how large it is.
    """

    active: Tensor
    single: Tensor


@torch.no_grad()
def kept_rows(
    attention: Attention,
    *,
    tau: float = 2.0,
    mode: str = 'paper',
    per_head: bool = False,
    sample_rows: int | None = None,
) -> KeptRows:
    """Count the rows of one layer of which ADL sees anything; arguments as in :func:`attention_diversification`.

    It computes the attention once more, in blocks of rows: for a look now and then.
    """
    attention = _sampled(attention, sample_rows)
    with torch.autocast(attention.query.device.type, enabled=False):
        regions = _regions(attention, tau)
        dtype = torch.promote_types(attention.query.dtype, torch.float32)
        operands = (one if one is None else one.to(dtype) for one in attention[:4])
        kept = _kept(regions, tau / attention.key.size(-2), mode, per_head, None)
        counts = kept_entries(Attention(*operands), kept)
        num_rows = regions.num_rows * counts.size(1)
        return KeptRows((counts > 0).sum() / num_rows, (counts == 1).sum() / num_rows)


def _sampled(attention: Attention, sample_rows: int | None) -> Attention:
    """The attention of some query rows, others in each image."""
    batch, heads, num_rows, _ = attention.query.shape
    if sample_rows is None or sample_rows >= num_rows:
        return attention
    drawn = torch.rand(batch, num_rows, device=attention.query.device).argsort(-1)[:, :sample_rows]

    def rows_of(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        x = x.expand(batch, -1, -1, -1) if x.dim() == 4 else x.expand(batch, heads, -1, -1)
        return x.gather(2, drawn[:, None, :, None].expand(-1, x.size(1), -1, x.size(3)))

    query, key, gate, bias, query_regions, key_regions = attention
    if query_regions is not None:
        query_regions = query_regions.gather(2, drawn[:, None].expand(-1, query_regions.size(1), -1))
    return Attention(rows_of(query), key, rows_of(gate), rows_of(bias), query_regions, key_regions)


class _Regions(NamedTuple):
    """Which rows are compared with each other: all of an image, or those of the same region."""

    of_keys: Tensor | None  # (B, 1, Nk, S), 1 where a key lies in a region, else 0; None for a single region
    threshold_of_rows: Tensor | None  # (B, 1, Nq, 1), infinity for a row in no region; None for a single region
    # numbers for a single region, else tensors
    num_rows: int | Tensor  # rows of the batch that lie in a region, at least 1
    threshold_of_keys: float | Tensor  # (B, 1, Nk), tau over the keys of a key's region
    rows_of_keys: int | Tensor  # (B, 1, Nk), rows of the key's region, at least 1
    rows_of_rows: int | Tensor  # (B, 1, Nq), rows of the row's region, at least 1

    def total(self, per_key: Tensor) -> Tensor:
        """``(B, G, Nk)`` summed over each region and given to all of its keys, in a shape that broadcasts to this."""
        if self.of_keys is None:
            return per_key.sum(-1, keepdim=True)
        sums = (per_key.unsqueeze(-1) * self.of_keys).sum(-2, keepdim=True)
        return (sums * self.of_keys).sum(-1)


def _regions(attention: Attention, tau: float) -> _Regions:
    query, key, *_, query_regions, key_regions = attention
    masks = query_regions, key_regions
    if (masks[0] is None) != (masks[1] is None):
        raise ValueError('query_regions and key_regions of ADL must be given together, got only one of them')
    if masks[0] is None:
        batch, num_rows, num_keys = query.size(0), query.size(-2), key.size(-2)
        rows = max(1, num_rows)
        return _Regions(None, None, max(1, batch) * rows, tau / max(1, num_keys), rows, rows)
    dtype = torch.promote_types(query.dtype, torch.float32)  # which can count all tokens
    of_queries, of_keys = (mask.to(dtype).transpose(-2, -1).unsqueeze(1) for mask in masks)
    num_queries, num_keys = of_queries.sum(-2, keepdim=True), of_keys.sum(-2, keepdim=True)  # (B, 1, 1, S)
    keys_of_rows = (of_queries * num_keys).sum(-1, keepdim=True)
    return _Regions(
        of_keys=of_keys,
        threshold_of_rows=torch.where(keys_of_rows > 0, tau / keys_of_rows.clamp(min=1), torch.inf),
        num_rows=(keys_of_rows > 0).sum().clamp(min=1),
        threshold_of_keys=tau / (of_keys * num_keys).sum(-1).clamp(min=1),
        rows_of_keys=(of_keys * num_queries).sum(-1).clamp(min=1),
        rows_of_rows=(of_queries * num_queries).sum(-1).clamp(min=1),
    )


def _kept(regions: _Regions, threshold: float, mode: str, per_head: bool, block_entries: int | None) -> Kept:
    official = mode == 'official'
    return Kept(threshold, regions.threshold_of_rows, official, official, per_head, block_entries)


def _diversification(sums: Sums, regions: _Regions, mode: str) -> Tensor:
    """The loss from what the operator found."""
    num_cosines = regions.num_rows * sums.of_rows.size(1)
    if mode == 'pairwise':
        if regions.of_keys is None:
            pairs = sums.of_directions.square().sum() - (sums.inv_norms > 0).sum()
            return pairs / (num_cosines * max(1, regions.rows_of_rows - 1))
        squares = (sums.of_directions.square() / _others(regions.rows_of_keys)).sum()
        active = (sums.inv_norms > 0).to(sums.inv_norms.dtype)
        with_themselves = (active / _others(regions.rows_of_rows)).sum()
        return (squares - with_themselves) / num_cosines
    mean = sums.of_rows
    if mode == 'official':
        mean = mean * (mean > regions.threshold_of_keys * regions.rows_of_keys)
    # a mean that is all zero has cosine 0, and no gradient; one that is not is far above the smallest number
    inv_norm = regions.total(mean.square()).clamp(min=torch.finfo(torch.float32).tiny).rsqrt()
    return (sums.of_directions * mean * inv_norm).sum() / num_cosines


def _others(rows: int | Tensor) -> int | Tensor:
    """How many other rows each is compared with, at least 1: where there is none, there is nothing to divide either."""
    return (rows - 1).clamp(min=1) if isinstance(rows, Tensor) else max(1, rows - 1)
