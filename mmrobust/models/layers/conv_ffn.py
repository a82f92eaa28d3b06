"""RVT's feed-forward layers, with and without a depthwise convolution."""

# B batch, N = H * W tokens, C channels

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmrobust.ops import contiguous_gradient


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
