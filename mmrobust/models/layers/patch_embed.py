"""Patch embeddings of FAN, RVT and Swin, and the downsampling between their stages."""

# B batch, C channels; images and feature maps are (B, C, H, W), tokens (B, N, C)

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrobust.models.layers.recompute import recompute
from mmrobust.ops import contiguous_gradient


class ConvStem(nn.Sequential):
    """Four 3 x 3 convolutions of stride 2, each with batch norm, GELU between them: 3 to C/8, C/4, C/2, C.

    Args:
        embed_dims: channels C of the tokens, a multiple of 8.
    """

    def __init__(self, embed_dims: int) -> None:
        channels = (3, embed_dims // 8, embed_dims // 4, embed_dims // 2, embed_dims)
        layers: list[nn.Module] = []
        for in_channels, out_channels in itertools.pairwise(channels):
            layers += [
                nn.Sequential(
                    nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(out_channels),
                ),
                nn.GELU(),
            ]
        super().__init__(*layers[:-1])

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to ``(B, C, H / 16, W / 16)``."""
        return contiguous_gradient(super().forward(images))  # of the last batch norm


class PooledStem(nn.Sequential):
    """RVT's stem: 7 x 7 convolution of stride 2, batch norm, max pooling of stride 2, 4 x 4 convolution of stride 4.

    There is no activation. The padding of the first convolution is 2, as released: a side of 16 n pixels becomes
    8 n - 1, then 4 n, then n.

    Args:
        embed_dims: channels C of the tokens.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__(
            nn.Conv2d(3, 32, 7, stride=2, padding=2),
            nn.BatchNorm2d(32),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(32, embed_dims, 4, stride=4),
        )


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of ``(B, C, H, W)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """ConvNeXt block (Liu et al., CVPR 2022): depthwise 7 x 7, LayerNorm, pointwise feed-forward, layer scale.

    Args:
        channels: channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(1e-6 * torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(self.norm(self.conv_dw(x).permute(0, 2, 3, 1)))
        # GELU's output, as large as its input, is made again for the backward pass
        return x + (self.gamma * recompute(self._project, hidden, random=False)).permute(0, 3, 1, 2)

    def _project(self, hidden: Tensor) -> Tensor:
        return self.fc2(self.act(hidden))


class ConvNeXtStem(nn.Module):
    """The first two stages of a ConvNeXt, strides 4 and 8, and a 2 x 2 convolution to the tokens at stride 16.

    Args:
        embed_dims: channels C of the tokens.
        depths: blocks of the two stages.
        channels: channels of the two stages.
        with_cp: recompute the blocks' activations in the backward pass instead of keeping them.
    """

    def __init__(
        self, embed_dims: int, depths: tuple[int, int], channels: tuple[int, int] = (128, 256), with_cp: bool = False
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.stem = nn.Sequential(nn.Conv2d(3, channels[0], 4, stride=4), LayerNorm2d(channels[0], eps=1e-6))
        self.downsample = nn.Sequential(
            LayerNorm2d(channels[0], eps=1e-6), nn.Conv2d(channels[0], channels[1], 2, stride=2)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(width) for _ in range(depth)))
            for depth, width in zip(depths, channels, strict=True)
        )
        for module in self.modules():  # as in a ConvNeXt, to which the last projection does not belong
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.proj = nn.Conv2d(channels[1], embed_dims, 2, stride=2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images ``(B, 3, H, W)`` to the maps at stride 4 and 8 and the token map ``(B, C, H / 16, W / 16)``."""
        stride4 = self._run_stage(self.stages[0], self.stem(images))
        stride8 = self._run_stage(self.stages[1], self.downsample(stride4))
        return stride4, stride8, self.proj(stride8)

    def _run_stage(self, stage: nn.Sequential, x: Tensor) -> Tensor:
        for block in stage:
            x = recompute(block, x, random=False) if self.with_cp else block(x)
        return x


class TokenDownsample(nn.Module):
    """Halves a token grid: 3 x 3 convolution of stride 2 and LayerNorm.

    Args:
        in_channels: channels of the incoming tokens.
        out_channels: channels of the outgoing tokens.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        nn.init.normal_(self.proj.weight, 0, math.sqrt(2 / (9 * out_channels)))  # by fan-out
        nn.init.zeros_(self.proj.bias)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """``(B, H * W, in_channels)`` to ``(B, ceil(H / 2) * ceil(W / 2), out_channels)`` and the new grid."""
        grid = self.proj(x.unflatten(1, hw_shape).permute(0, 3, 1, 2))
        return self.norm(grid.permute(0, 2, 3, 1).flatten(1, 2)), (grid.size(2), grid.size(3))


class TokenPool(nn.Module):
    """Halves a token grid in RVT: depthwise 3 x 3 convolution of stride 2, each channel to one or several.

    Args:
        in_channels: channels of the incoming tokens.
        out_channels: channels of the outgoing tokens, a multiple of ``in_channels``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        if out_channels % in_channels:
            raise ValueError(
                f'each stage must have a multiple of the channels before it, got {in_channels} and {out_channels}'
            )
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, groups=in_channels)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """``(B, H * W, in_channels)`` to ``(B, ceil(H / 2) * ceil(W / 2), out_channels)`` and the new grid."""
        grid = self.conv(x.unflatten(1, hw_shape).permute(0, 3, 1, 2))
        return grid.permute(0, 2, 3, 1).flatten(1, 2), (grid.size(2), grid.size(3))


class PaddedPatchEmbed(nn.Module):
    """Swin's stem: a p x p convolution of stride p and a norm; sides are padded to multiples of p with zeros.

    Args:
        embed_dims: channels C of the tokens.
        patch_size: side p in pixels.
    """

    def __init__(self, embed_dims: int, patch_size: int = 4) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, embed_dims, patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Images ``(B, 3, H, W)`` to ``(B, ceil(H / p) * ceil(W / p), C)`` and the token grid."""
        height, width = images.shape[-2:]
        grid = self.proj(F.pad(images, (0, -width % self.patch_size, 0, -height % self.patch_size)))
        return self.norm(grid.flatten(2).transpose(1, 2)), (grid.size(2), grid.size(3))


class PatchMerging(nn.Module):
    """Halves a token grid in Swin: the channels of 2 x 2 tokens, a norm, and a linear layer from 4 C to 2 C.

    The four tokens follow each other column by column, as in the released weights. Odd sides are padded with zeros.

    Args:
        embed_dims: channels C of the incoming tokens.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * embed_dims)
        self.reduction = nn.Linear(4 * embed_dims, 2 * embed_dims, bias=False)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """``(B, H * W, C)`` to ``(B, ceil(H / 2) * ceil(W / 2), 2 C)`` and the new grid."""
        height, width = hw_shape
        grid = F.pad(x.unflatten(1, hw_shape), (0, 0, 0, width % 2, 0, height % 2))
        merged = torch.cat([grid[:, dy::2, dx::2] for dx in (0, 1) for dy in (0, 1)], dim=-1)
        return self.reduction(self.norm(merged.flatten(1, 2))), (merged.size(1), merged.size(2))
