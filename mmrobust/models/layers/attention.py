"""Self-attention that can be observed without holding its map; and class attention, which has a single query."""

# B batch, H heads, N = P + Hp * Wp tokens, P prefix tokens, Nq queries, Nk keys, C channels, D = C / H
# in class attention N patch tokens

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrobust.ops import Attention, attention_output, attention_probs


class AttentionView(NamedTuple):
    """Attention of one layer, not yet computed, and the grid of its tokens.

    It is handed to an ``observe`` function while the layer runs; what that function returns leaves the block in place
    of the map. At a 1024 x 1024 crop the maps of FAN-B-Hybrid would be 8 GiB per image, so no map ever travels.

    Attributes:
        attention: query, key, and what else decides the probabilities. In windows, B counts all windows of all images.
        hw_shape: rows and columns ``(Hp, Wp)`` of the patch tokens, which are in raster order. In windows these are the
            rows and columns of a window, padding included, and not of the image.
        num_prefix_tokens: P, the tokens in front of the patch tokens: class, distillation, registers.
        tap_weights: None, or ``(images, Hp, Wp, K)``, of the whole image in windows too: the share of each of TAP's
            branches in each patch token that came in, see
            :meth:`~mmrobust.models.layers.TokenAwareAvgPool.weights`. Without gradient.
        num_windows: windows of an image, images first in B; None where every token of the image can attend to all.
        num_registers: how many of the prefix tokens, the last of them, are registers; the first one is a class token
            if there are more.
        tokens: None, or ``(images, N, C)``, of the whole image in windows too: the tokens that came into the block,
            before TAP and norm, as they go on along the shortcut. Not detached.
    """

    attention: Attention
    hw_shape: tuple[int, int]
    num_prefix_tokens: int = 0
    tap_weights: Tensor | None = None
    num_windows: int | None = None
    num_registers: int = 0
    tokens: Tensor | None = None

    @property
    def has_class_token(self) -> bool:
        """Whether the first token is a class token."""
        return self.num_prefix_tokens > self.num_registers

    def rows(self, start: int, stop: int) -> Tensor:
        """Probabilities of the query rows ``start`` to ``stop``: ``(B, H, stop - start, Nk)``, rows sum to 1."""
        query, key, *others, _, _ = self.attention
        gate, bias = (None if one is None else one[..., start:stop, :] for one in others)
        return attention_probs(Attention(query[:, :, start:stop], key, gate, bias))

    def probs(self) -> Tensor:
        """The whole map ``(B, H, Nq, Nk)``: for analysis only, quadratic in the number of tokens."""
        return attention_probs(self.attention)

    def check_grid(self) -> None:
        """Raises a ValueError if the queries are not the prefix tokens and one token for each place of the grid."""
        num_tokens, (height, width) = self.attention.query.size(2), self.hw_shape
        if self.num_prefix_tokens + height * width != num_tokens:
            raise ValueError(
                f'num_prefix_tokens and hw_shape of an AttentionView must make up its {num_tokens} tokens, got '
                f'{self.num_prefix_tokens} and {height} x {width}; count class token and registers as prefix tokens'
            )


Observe = Callable[[AttentionView], Any]


def attend(
    view: AttentionView, value: Tensor, dropout: float = 0.0, observe: Observe | None = None
) -> tuple[Tensor, Any]:
    """The output of attention, and what ``observe`` made of it: what every attention layer here ends with.

    The output is :func:`~mmrobust.ops.attention_output`, and observing changes nothing about it. An ``observe`` with a
    method ``with_output(view, value)``, as that of ADL has, makes both at once, unless there is dropout: what they
    share need not be computed twice.

    Args:
        view: what the layer attends to.
        value: ``(B, H, Nk, D)``.
        dropout: of the probabilities, in [0, 1].
        observe: see :data:`Observe`; None observes nothing.

    Returns:
        ``(B, H, Nq, D)``, and what ``observe`` returned, or None.
    """
    with_output = getattr(observe, 'with_output', None)
    if with_output is not None and not dropout:
        return with_output(view, value)
    out = attention_output(view.attention, value, dropout)
    return out, None if observe is None else observe(view)


class SelfAttention(nn.Module):
    """Multi-head self-attention with FAN's separate query projection.

    Args:
        embed_dims: channels C, a multiple of ``num_heads``.
        num_heads: heads H.
        attn_drop_rate: dropout of attention probabilities, in [0, 1].
        proj_drop_rate: dropout of the output, in [0, 1].
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims must be a multiple of num_heads, got {embed_dims} and {num_heads}')
        self.num_heads = num_heads
        self.scale = (embed_dims // num_heads) ** -0.5
        self.attn_drop_rate = attn_drop_rate
        self.q = nn.Linear(embed_dims, embed_dims)
        self.kv = nn.Linear(embed_dims, 2 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop_rate)

    def forward(
        self,
        x: Tensor,
        hw_shape: tuple[int, int],
        *,
        observe: Observe | None = None,
        gate: Tensor | None = None,
        tap_weights: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """``(B, N, C)`` to ``(B, N, C)``, and what ``observe`` made of this layer's attention (None without it).

        A ``gate`` ``(H, N, N)`` is multiplied onto the scores; the token grid ``hw_shape``, ``tap_weights`` and
        ``tokens`` are for ``observe``.
        """
        batch, num_tokens, channels = x.shape
        query = self.q(x).view(batch, num_tokens, self.num_heads, -1).transpose(1, 2) * self.scale
        key, value = self.kv(x).view(batch, num_tokens, 2, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.attn_drop_rate if self.training else 0.0
        view = AttentionView(Attention(query, key, gate), hw_shape, tap_weights=tap_weights, tokens=tokens)
        out, aux = attend(view, value, dropout, observe)
        out = self.proj_drop(self.proj(out.transpose(1, 2).reshape(batch, num_tokens, channels)))
        return out, aux


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
