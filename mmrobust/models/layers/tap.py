"""TAP, token-aware average pooling: each token chooses the neighbourhood that takes part in attention on its behalf.

And its rivals of Table 1, of which two treat all tokens alike: average pooling and a convolution.
"""

# B batch, H W token grid, N = H * W tokens, C channels, K branches

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmrobust.models.layers.recompute import recompute
from mmrobust.ops import dilated_windows, kernel_windows, weighted_avg_pool
from mmrobust.registry import MODELS


class BranchPredictor(nn.Sequential):
    """Two 3 x 3 convolutions, C to K and K to K, that give each token one logit per branch.

    Paper, Sec. 3.2 ("two-layer convolutional module"). As in the released code there is a norm between the layers, no
    activation and no bias; the convolutions keep PyTorch's default initialisation.
    """

    def __init__(self, embed_dims: int, num_branches: int, norm_cfg: dict) -> None:
        super().__init__(
            nn.Conv2d(embed_dims, num_branches, 3, padding=1, bias=False),
            build_norm_layer(norm_cfg, num_branches)[1],
            nn.Conv2d(num_branches, num_branches, 3, padding=1, bias=False),
        )


@MODELS.register_module()
class TokenAwareAvgPool(nn.Module):
    """Token-aware average pooling (TAP), paper Sec. 3.2 and Fig. 2.

    Branch 0 is the token itself, branch d the 3 x 3 average of dilation d; the output is their sum, weighted per token
    by the softmax of a small predictor and shared by all channels. With one branch there is nothing to choose: the
    layer is the identity and has no parameters. Differs from the released code in taking any H x W, where that code
    assumes a square grid, and in not gathering neighbourhoods. Under autocast its output has autocast's dtype, as that
    of a convolution.

    Args:
        embed_dims: channels C.
        num_branches: K >= 1; 4 is the paper's best (Fig. 7).
        norm_cfg: norm of the predictor. Use SyncBN where a GPU sees few images.

    Raises:
        ValueError: if ``num_branches`` is below 1.
    """

    windows = staticmethod(dilated_windows)

    def __init__(self, embed_dims: int, num_branches: int = 4, norm_cfg: dict | None = None) -> None:
        super().__init__()
        if num_branches < 1:
            raise ValueError(f'num_branches (K of TAP) must be at least 1, got {num_branches}')
        self.num_branches = num_branches
        self.predictor = (
            BranchPredictor(embed_dims, num_branches, norm_cfg or dict(type='BN')) if num_branches > 1 else None
        )

    def forward(
        self, x: Tensor, hw_shape: tuple[int, int], return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """``(B, N, C)`` with N = H * W to the same shape; ``hw_shape`` is ``(H, W)`` in tokens.

        With ``return_weights`` also the :meth:`weights` that it took.

        Raises:
            ValueError: if the tokens are no such grid.
        """
        if hw_shape[0] * hw_shape[1] != x.size(1):
            raise ValueError(f'TAP needs a token grid: hw_shape must multiply to {x.size(1)} tokens, got {hw_shape}')
        if self.predictor is None:
            return (x, self.weights(x, hw_shape)) if return_weights else x
        logits = self._logits(x, hw_shape)
        weights = logits.softmax(-1)
        windows = self.windows(self.num_branches)
        x = weighted_avg_pool(x.unflatten(1, hw_shape), weights, windows, logits.dtype).flatten(1, 2)
        return (x, weights) if return_weights else x

    def weights(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Each token's share of every branch: ``(B, H, W, K)``, sums to 1 over K (all ones for one branch)."""
        if self.predictor is None:
            return torch.ones_like(x[..., :1]).unflatten(1, hw_shape)  # which refuses tokens that are no such grid
        return self._logits(x, hw_shape).softmax(-1)

    def _logits(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """``(B, N, C)`` to ``(B, H, W, K)``, in autocast's dtype."""
        grid = x.unflatten(1, hw_shape).permute(0, 3, 1, 2)
        if self.training and torch.compiler.is_compiling():
            # the compiler keeps the tokens for later anyway, and would keep them once more in autocast's dtype
            logits = recompute(self.predictor, grid, norms=self.predictor, random=False)
        else:
            logits = self.predictor(grid)
        return logits.permute(0, 2, 3, 1)


@MODELS.register_module()
class MultiKernelTokenAwareAvgPool(TokenAwareAvgPool):
    """The rival "TAP (multi-kernel)" of Table 1: branch d averages over (2d + 1) x (2d + 1) without dilation."""

    windows = staticmethod(kernel_windows)


def pool_tokens(tap: nn.Module | None, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
    """Tokens that attention sees, ``(B, N, C)``, and TAP's weights.

    Args:
        tap: TAP, one of its rivals, or None for the tokens as they are.
        x: ``(B, N, C)``.
        hw_shape: ``(H, W)`` in tokens.

    Returns:
        ``(B, N, C)``, and ``(B, H, W, K)`` without gradient or, without TAP, None.
    """
    if isinstance(tap, TokenAwareAvgPool):
        pooled, weights = tap(x, hw_shape, return_weights=True)
        return pooled, weights.detach()
    return (x if tap is None else tap(x, hw_shape)), None


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
