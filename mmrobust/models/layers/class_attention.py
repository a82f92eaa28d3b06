"""Class attention: the last blocks of FAN, in which a class token reads the patch tokens (as in CaiT and XCiT)."""

# B batch, H heads, N patch tokens, C channels

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ClassAttention(nn.Module):
    """Multi-head attention whose only query is the class token.

    Args:
        embed_dims: channels C.
        num_heads: heads H.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(embed_dims, embed_dims)
        self.k = nn.Linear(embed_dims, embed_dims)
        self.v = nn.Linear(embed_dims, embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Class token first ``(B, 1 + N, C)`` to the new class token ``(B, 1, C)``."""
        query, key, value = (
            proj(tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for proj, tokens in ((self.q, x[:, :1]), (self.k, x), (self.v, x))
        )
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class PatchTokenPath(nn.Module):
    """Patch-token path of a class-attention block, which neither mixes tokens nor lets the class token in.

    A dense model needs only this part of the block. The released segmentation code runs all of it and drops the class
    token, which leaves 27 tensors without a gradient.

    Args:
        embed_dims: channels C.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.gamma1 = nn.Parameter(torch.ones(embed_dims))
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)

    def forward(self, patches: Tensor) -> Tensor:
        """``(B, N, C)`` to the same shape."""
        return 2 * self.norm2(patches + self.gamma1 * self.norm1(patches))


class ClassAttentionBlock(PatchTokenPath):
    """XCiT's class-attention block with ``tokens_norm``, as FAN uses it.

    The residual of the feed-forward part is the *normed* sequence, and the patch tokens, which skip that part, are
    added to themselves: both are kept for the sake of the released weights.

    Args:
        embed_dims: channels C.
        num_heads: heads H.
        mlp_ratio: hidden channels of the feed-forward layer over C.
    """

    def __init__(self, embed_dims: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__(embed_dims)
        self.attn = ClassAttention(embed_dims, num_heads)
        hidden_dims = int(embed_dims * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(embed_dims, hidden_dims), nn.GELU(), nn.Linear(hidden_dims, embed_dims))
        self.gamma2 = nn.Parameter(torch.ones(embed_dims))

    def forward(self, x: Tensor) -> Tensor:
        """Class token first, ``(B, 1 + N, C)`` to the same shape."""
        normed = self.norm1(x)
        cls_token = self.norm2(x[:, :1] + self.gamma1 * self.attn(normed))
        patches = self.norm2(x[:, 1:] + self.gamma1 * normed[:, 1:])
        return torch.cat((cls_token + self.gamma2 * self.mlp(cls_token), 2 * patches), dim=1)
