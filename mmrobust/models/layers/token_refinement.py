"""Token refinement: the light trainable part of a frozen network, between its blocks."""

# B batch, N tokens, C channels, L blocks, M learnt tokens, R rank

import torch
from torch import Tensor, nn

from mmrobust.registry import MODELS


@MODELS.register_module()
class TokenRefinement(nn.Module):
    """Learnt tokens change the features after each block, in the style of Rein (Wei et al., CVPR 2024, Sec. 3).

    A block has M tokens ``T = A B`` of low rank. Its features ``f`` are compared with them, and changed by what the
    tokens that they resemble say (arXiv:2312.04265)::

        S = softmax(f T^T / sqrt(C))
        d = S[:, 1:] (T[1:] W_T + b_T)
        f' = f + (d + f) W_f + b_f

    The first token says nothing: features that need no change go there. ``W`` and ``b`` are shared by all blocks. The
    paper also makes the queries of a Mask2Former head from the tokens; that is left out, as heads here have none. Its
    initial values are not taken over: ``W_f`` and ``b_f`` start at 0, so a new layer changes nothing, and tokens have a
    length near 1.

    Args:
        embed_dims: channels C.
        num_blocks: L, the blocks that are followed by this layer.
        num_tokens: M >= 2; the paper's is 100.
        rank: R >= 1; the paper's is 16.

    Raises:
        ValueError: if ``num_tokens`` is below 2, or ``rank`` below 1.
    """

    def __init__(self, embed_dims: int, num_blocks: int, num_tokens: int = 100, rank: int = 16) -> None:
        super().__init__()
        for name, value, least in (('num_tokens', num_tokens, 2), ('rank', rank, 1)):
            if value < least:
                raise ValueError(f'{name} of TokenRefinement must be at least {least}, got {value}')
        self.scale = embed_dims**-0.5
        self.factors_a = nn.Parameter(torch.randn(num_blocks, num_tokens, rank) * rank**-0.5)
        self.factors_b = nn.Parameter(torch.randn(num_blocks, rank, embed_dims) * self.scale)
        self.to_message = nn.Linear(embed_dims, embed_dims)  # W_T, b_T
        self.to_change = nn.Linear(embed_dims, embed_dims)  # W_f, b_f
        nn.init.zeros_(self.to_change.weight)
        nn.init.zeros_(self.to_change.bias)

    def forward(self, x: Tensor, block: int) -> Tensor:
        """Patch tokens ``(B, N, C)`` after block number ``block``, from 0, to the same shape."""
        tokens = self.factors_a[block] @ self.factors_b[block]
        similarity = (x @ tokens.t() * self.scale).softmax(-1)
        message = similarity[..., 1:] @ self.to_message(tokens[1:])
        return x + self.to_change(message + x)
