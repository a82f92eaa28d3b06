"""Attention itself: probabilities and output, by the definition that everyone who looks at attention shares."""

# B batch, H heads, Nq query tokens, Nk key tokens, D channels per head

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor


def attention_probs(query: Tensor, key: Tensor, gate: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """``softmax((query @ key^T) * gate + bias)`` over the keys, in float32 at least.

    Args:
        query: ``(B, H, Nq, D)``, already scaled by ``D ** -0.5``.
        key: ``(B, H, Nk, D)``.
        gate: broadcastable to ``(B, H, Nq, Nk)``, multiplied onto the scores (RVT's position-aware scaling).
        bias: broadcastable to ``(B, H, Nq, Nk)``, added to the scores (Swin's relative position bias and mask).

    Returns:
        ``(B, H, Nq, Nk)``, rows sum to 1, ``float64`` for a ``float64`` query and ``float32`` otherwise.
    """
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


def attention_output(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    gate: Tensor | None = None,
    bias: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """``attention_probs(query, key, gate, bias) @ value``, by ``scaled_dot_product_attention`` where that can do it.

    With a gate it cannot: the fused kernels add to the scores and do not multiply them. Then the map is held, ``B * H *
    Nq * Nk`` in float32.

    Args:
        value: ``(B, H, Nk, D)``. The others as in :func:`attention_probs`.
        dropout: of the probabilities, in [0, 1].

    Returns:
        ``(B, H, Nq, D)`` in the dtype of ``value``.
    """
    if gate is None:
        bias = None if bias is None else bias.to(query.dtype)
        return F.scaled_dot_product_attention(query, key, value, bias, dropout, scale=1.0)
    return F.dropout(attention_probs(query, key, gate, bias), dropout).to(value.dtype) @ value
