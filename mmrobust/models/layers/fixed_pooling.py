"""TAP's rivals of Table 1 that treat all tokens alike: average pooling and a convolution."""

# B batch, N = H * W tokens, C channels

from torch import Tensor, nn

from mmrobust.ops import weighted_avg_pool
from mmrobust.registry import MODELS


def _check_kernel_size(kernel_size: int) -> None:
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f'kernel_size must be odd and at least 1, got {kernel_size}')


@MODELS.register_module()
class TokenAvgPool(nn.Module):
    """ "AvgPool3x3" and "AvgPool5x5" of Table 1: the mean of a window, zero outside the map.

    Args:
        embed_dims: channels C; taken for the sake of a common interface.
        kernel_size: side of the window, odd.
    """

    def __init__(self, embed_dims: int, kernel_size: int = 3) -> None:
        super().__init__()
        _check_kernel_size(kernel_size)
        radius = kernel_size // 2
        self.window = tuple(range(-radius, radius + 1))

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """``(B, N, C)`` to the same shape."""
        grid = x.unflatten(1, hw_shape)
        return weighted_avg_pool(grid, grid.new_ones((*grid.shape[:-1], 1)), [self.window]).flatten(1, 2)


@MODELS.register_module()
class TokenConv(nn.Module):
    """ "Conv3x3" and "Conv5x5" of Table 1: a dense convolution C to C (Table 1's sizes leave no room for a bias).

    Args:
        embed_dims: channels C.
        kernel_size: side of the kernel, odd.
    """

    def __init__(self, embed_dims: int, kernel_size: int = 3) -> None:
        super().__init__()
        _check_kernel_size(kernel_size)
        self.conv = nn.Conv2d(embed_dims, embed_dims, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """``(B, N, C)`` to the same shape."""
        return self.conv(x.unflatten(1, hw_shape).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1, 2)
