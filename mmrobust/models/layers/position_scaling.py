"""RVT's position-aware attention scaling: scores are scaled by the positions of their two tokens."""

# H heads, h w token grid of the weights, Nq = Nk = N tokens

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PositionAwareScaling(nn.Module):
    """A learned factor in (0, 1) for every head and every pair of positions, to be multiplied onto the scores.

    RVT (Mao et al., CVPR 2022, arXiv:2105.07926), "position-aware attention scaling". As in the released code the
    factor is the sigmoid of a parameter, and starts near 1/2. Differs from it on grids that the weights were not
    trained on: there the parameter is interpolated, over the positions of keys and over those of queries; the released
    code cuts out a corner of the matrix, which belongs to other positions, and cannot take more tokens.

    The factors have no batch axis, but are as many as the scores of one image: 0.8 GB in float32 for each scaled layer
    of RVT-B at 1024 x 1024, and 1.8 MB at 224 x 224.

    Args:
        num_heads: heads H.
        hw_shape: token grid ``(h, w)`` of the weights.
    """

    def __init__(self, num_heads: int, hw_shape: tuple[int, int]) -> None:
        super().__init__()
        self.hw_shape = tuple(hw_shape)
        num_tokens = hw_shape[0] * hw_shape[1]
        self.logits = nn.Parameter(torch.empty(num_heads, num_tokens, num_tokens))
        nn.init.trunc_normal_(self.logits, std=0.02, a=-0.02, b=0.02)

    def forward(self, hw_shape: tuple[int, int]) -> Tensor:
        """Factors ``(H, Nq, Nk)`` for a token grid ``(height, width)``."""
        logits = self.logits
        if hw_shape != self.hw_shape:
            for _ in range(2):  # keys, and then queries, which the first turn puts last
                maps = F.interpolate(logits.unflatten(-1, self.hw_shape), hw_shape, mode='bilinear')
                logits = maps.flatten(2).transpose(1, 2)
        return logits.sigmoid()
