"""Feed-forward layers: FAN's channel attention, whose channels are re-weighted by attention over the tokens; RVT's."""

# B batch, H heads, N = Hp * Wp tokens, C channels, D = C / H

import math

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmrobust.models.layers.recompute import recompute
from mmrobust.ops import contiguous_gradient


class DepthwiseConv(nn.Module):
    """Two depthwise 3 x 3 convolutions with GELU and a norm between them, on a token grid.

    Args:
        channels: channels.
        norm_cfg: the norm between the convolutions.
    """

    def __init__(self, channels: int, norm_cfg: dict) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.act = nn.GELU()
        self.bn = build_norm_layer(norm_cfg, channels)[1]
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        for conv in (self.conv1, self.conv2):
            nn.init.normal_(conv.weight, 0, math.sqrt(2 / 9))  # fan-out of a depthwise 3 x 3
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """``(B, N, channels)`` to the same shape."""
        grid = x.unflatten(1, hw_shape).permute(0, 3, 1, 2)
        return self.conv2(self.bn(self.act(self.conv1(grid)))).permute(0, 2, 3, 1).flatten(1, 2)


class ConvMlp(nn.Module):
    """Linear, depthwise convolutions with a scaled residual, Linear; the convolutions carry the non-linearity.

    Of its six activations of ``hidden_dims`` channels, half of what a block of FAN would keep, only the first is kept
    for the backward pass. The others are computed again: the convolutions, and neither of the linear layers.

    Args:
        embed_dims: channels C.
        hidden_dims: channels between the linear layers.
        norm_cfg: norm between the depthwise convolutions.
        drop_rate: dropout after the convolutions and at the end, in [0, 1].
        conv_residual: add what enters the convolutions to what leaves them; FAN-Swin does not.
    """

    def __init__(
        self, embed_dims: int, hidden_dims: int, norm_cfg: dict, drop_rate: float = 0.0, conv_residual: bool = True
    ) -> None:
        super().__init__()
        self.conv_residual = conv_residual
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.dwconv = DepthwiseConv(hidden_dims, norm_cfg)
        self.gamma = nn.Parameter(torch.ones(hidden_dims))
        self.fc2 = nn.Linear(hidden_dims, embed_dims)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """``(B, N, C)`` to the same shape."""
        return recompute(self._mix, self.fc1(x), hw_shape, norms=self.dwconv, random=self.drop.p > 0)

    def _mix(self, hidden: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        mixed = self.drop(self.gamma * self.dwconv(hidden, hw_shape))
        return self.drop(self.fc2(mixed + hidden if self.conv_residual else mixed))


class ChannelAttention(nn.Module):
    """FAN's channel processing: ``norm(ConvMlp(x))`` with a gate per channel (Zhou et al., ICML 2022, Sec. 3.3).

    The gate is ``temperature * sigmoid(q . k)``: ``q`` is a projection of the tokens and ``k`` the mean over a head's
    channels of the tokens themselves, both softmax-normalised over the N tokens, so its cost is linear in N.

    Args:
        embed_dims: channels C.
        num_heads: heads H.
        mlp_ratio: hidden channels of the feed-forward layer over C.
        norm_cfg: norm inside the feed-forward layer.
        drop_rate: dropout of the feed-forward layer, in [0, 1].
        conv_residual: of the feed-forward layer's convolutions; False in FAN-Swin.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        mlp_ratio: float,
        norm_cfg: dict,
        drop_rate: float = 0.0,
        conv_residual: bool = True,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.q = nn.Linear(embed_dims, embed_dims)
        self.mlp_v = ConvMlp(embed_dims, int(embed_dims * mlp_ratio), norm_cfg, drop_rate, conv_residual)
        self.norm_v = nn.LayerNorm(embed_dims)  # eps 1e-5, unlike FAN's other norms

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """``(B, N, C)`` to the same shape."""
        batch, _, channels = x.shape
        heads = (self.num_heads, channels // self.num_heads)
        query = _softmax_over_tokens(self.q(x)).unflatten(1, heads)  # (B, H, D, N)
        key = _softmax_over_tokens(x).unflatten(1, heads).mean(2).unsqueeze(-1)  # (B, H, N, 1)
        gate = torch.sigmoid(query @ key.to(query.dtype)) * self.temperature  # (B, H, D, 1)
        return self.norm_v(self.mlp_v(x, hw_shape)) * gate.reshape(batch, 1, channels)


def _softmax_over_tokens(x: Tensor) -> Tensor:
    """Tokens ``(B, N, C)`` to ``(B, C, N)``, each channel with sum 1."""
    # on a GPU a softmax over the middle axis takes twelve times as long as over the last, on a CPU less
    return x.transpose(1, 2).softmax(-1) if x.is_cuda else x.softmax(1).transpose(1, 2)


class ConvFFN(nn.Module):
    """Pointwise, depthwise 3 x 3 and pointwise convolution, a norm after each, GELU after the first two.

    RVT (Mao et al., CVPR 2022, arXiv:2105.07926), "convolutional feed-forward network": the depthwise convolution
    brings locality. The convolutions keep PyTorch's default initialisation, as in the released code.

    Args:
        embed_dims: channels C.
        hidden_dims: channels between the pointwise convolutions.
        norm_cfg: the three norms.
        drop_rate: dropout after the first GELU and at the end, in [0, 1].
    """

    def __init__(self, embed_dims: int, hidden_dims: int, norm_cfg: dict, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(embed_dims, hidden_dims, 1)
        self.bn1 = build_norm_layer(norm_cfg, hidden_dims)[1]
        self.dwconv = nn.Conv2d(hidden_dims, hidden_dims, 3, padding=1, groups=hidden_dims)
        self.bn2 = build_norm_layer(norm_cfg, hidden_dims)[1]
        self.fc2 = nn.Conv2d(hidden_dims, embed_dims, 1)
        self.bn3 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.act = nn.GELU()
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """``(B, N, C)`` to the same shape."""
        grid = x.unflatten(1, hw_shape).permute(0, 3, 1, 2)
        grid = self.drop(self.act(self.bn1(self.fc1(grid))))
        grid = self.act(self.bn2(self.dwconv(grid)))
        grid = self.drop(contiguous_gradient(self.bn3(self.fc2(grid))))
        return grid.permute(0, 2, 3, 1).flatten(1, 2)


class LinearFFN(nn.Module):
    """Linear, GELU, Linear: every token by itself.

    Args:
        embed_dims: channels C.
        hidden_dims: channels between the linear layers.
        drop_rate: dropout after the GELU and at the end, in [0, 1].
    """

    def __init__(self, embed_dims: int, hidden_dims: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, embed_dims)
        self.act = nn.GELU()
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """``(B, N, C)`` to the same shape; the grid is taken for the sake of a common interface."""
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
