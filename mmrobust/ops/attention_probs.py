"""Attention probabilities from queries and keys: the definition that everyone who looks at attention shares."""

# B batch, H heads, Nq query tokens, Nk key tokens, D channels per head

from contextlib import nullcontext

import torch
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
