"""Attention as query, key, gate, bias and regions; its probabilities and output."""

# B batch, H heads, Nq query tokens, Nk key tokens, D channels per head, S regions

from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Attention(NamedTuple):
    """Operands of ``softmax(query @ key^T * gate + bias)``, not yet computed.

    Attributes:
        query: ``(B, H, Nq, D)``, already scaled by ``D ** -0.5``.
        key: ``(B, H, Nk, D)``.
        gate: broadcastable to ``(B, H, Nq, Nk)`` with both token axes present, multiplied onto the scores (RVT's
            position-aware scaling); or None.
        bias: the same, added to the scores (Swin's relative position bias and mask); may hold ``-inf``; or None.
        query_regions: bool ``(B, S, Nq)``, which queries lie in each of S regions; None for a single region. Between
            regions the ``bias`` is ``-inf``, or so low that the probability is 0. A query in no region is padding:
            nobody looks at what it attends to.
        key_regions: bool ``(B, S, Nk)``, the same for keys; given together with ``query_regions``.
    """

    query: Tensor
    key: Tensor
    gate: Tensor | None = None
    bias: Tensor | None = None
    query_regions: Tensor | None = None
    key_regions: Tensor | None = None


def attention_probs(attention: Attention) -> Tensor:
    """``softmax(query @ key^T * gate + bias)`` over the keys, in float32 at least.

    Returns:
        ``(B, H, Nq, Nk)``, rows sum to 1, ``float64`` for a ``float64`` query and ``float32`` otherwise.
    """
    query, key, gate, bias, *_ = attention
    device = query.device.type
    # the meta device, on which models are counted, has no autocast
    with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
        dtype = torch.promote_types(query.dtype, torch.float32)
        scores = query.to(dtype) @ key.to(dtype).transpose(-2, -1)
        if gate is not None:
            scores = scores * gate
        if bias is not None:
            scores = scores + bias
        return scores.softmax(dim=-1)


def attention_output(attention: Attention, value: Tensor, dropout: float = 0.0) -> Tensor:
    """``attention_probs(attention) @ value``, by ``scaled_dot_product_attention`` where that can do it.

    With a gate it cannot: the fused kernels add to the scores and do not multiply them. Then the map is held, ``B * H *
    Nq * Nk`` in float32.

    Args:
        attention: what is attended to.
        value: ``(B, H, Nk, D)``.
        dropout: of the probabilities, in [0, 1].

    Returns:
        ``(B, H, Nq, D)`` in the dtype of ``value``.
    """
    query, key, gate, bias, *_ = attention
    if gate is None:
        bias = None if bias is None else bias.to(query.dtype)
        return F.scaled_dot_product_attention(query, key, value, bias, dropout, scale=1.0)
    return F.dropout(attention_probs(attention), dropout).to(value.dtype) @ value
