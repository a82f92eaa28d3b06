"""Fourier position embedding (XCiT), projected to the channels of the tokens."""

import math

import torch
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
