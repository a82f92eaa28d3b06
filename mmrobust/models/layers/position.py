"""Where tokens are: FAN's Fourier position embedding (XCiT), and RVT's position-aware attention scaling."""

# H heads, h w token grid of the weights, Nq = Nk = N tokens

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FourierPositionEmbed(nn.Module):
    """Sines and cosines of the relative position, 32 for y and 32 for x, and a learned 1 x 1 projection.

    Positions are relative to the size of the grid, so any grid is covered, and the code does not change with scale.

    Args:
        embed_dims: channels C of the tokens.
        paired_frequencies: sine and cosine of a pair share their frequency, as in XCiT and in the released
            classification code. The released *segmentation* code lost a floor division and gives each its own: set
            False for its weights.
    """

    hidden_dims = 32
    temperature = 1e4

    def __init__(self, embed_dims: int, paired_frequencies: bool = True) -> None:
        super().__init__()
        self.paired_frequencies = paired_frequencies
        self.token_projection = nn.Conv2d(2 * self.hidden_dims, embed_dims, 1)

    def forward(self, hw_shape: tuple[int, int]) -> Tensor:
        """``(H, W)`` to ``(1, H * W, C)``."""
        weight = self.token_projection.weight
        y, x = (self._encode(size, weight) for size in hw_shape)
        height, width = hw_shape
        code = torch.cat(
            (y[:, None].expand(height, width, -1), x[None].expand(height, width, -1)),
            dim=-1,
        )
        return self.token_projection(code.permute(2, 0, 1)[None]).flatten(2).transpose(1, 2)

    def _encode(self, size: int, like: Tensor) -> Tensor:
        """Code of one axis: ``(size, 32)``, sine on even channels and cosine on odd ones."""
        channel = torch.arange(self.hidden_dims, dtype=torch.float32, device=like.device)
        exponent = (channel // 2 if self.paired_frequencies else channel / 2) * 2 / self.hidden_dims
        position = torch.arange(1, size + 1, dtype=torch.float32, device=like.device) / (size + 1e-6) * 2 * math.pi
        angle = position[:, None] / self.temperature**exponent
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=-1).flatten(1).to(like.dtype)


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
