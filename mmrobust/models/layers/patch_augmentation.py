"""RVT's patch-wise augmentation: each patch is zoomed, mirrored and made noisy independently."""

# B batch, P = B * h * w patches of p x p pixels

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrobust.registry import MODELS


@MODELS.register_module()
class PatchAugmentation(nn.Module):
    """Zooms into, mirrors and adds noise to patches of normalised images, each with a probability of its own.

    RVT (Mao et al., CVPR 2022, arXiv:2105.07926), "patch-wise augmentation", with the strengths of the released code:
    a square of 85 to 100% of the patch's area is cut out anywhere in it and enlarged to the patch, Gaussian noise is
    added, the patch is mirrored left to right. The result is cut to what a normalised image can hold. Labels are not
    touched, so this is for classification. Differs from the released code in taking images of any size that patches
    fill, and in cutting out at fractions of a pixel.

    The random numbers are those of torch's global generator, so a seeded iteration repeats them.

    Args:
        prob: probability of each of the three for a patch, in [0, 1].
        min_area: smallest cut-out as a part of the patch's area, in (0, 1].
        noise_std: standard deviation of the noise, in units of the normalised image, >= 0.
        patch_size: side p in pixels.
        mean: what was subtracted from the channels, in pixel values 0 to 255.
        std: what they were divided by afterwards.

    Raises:
        ValueError: if an argument is outside its range, or an image's side is no multiple of ``patch_size``.
    """

    def __init__(
        self,
        prob: float = 0.1,
        min_area: float = 0.85,
        noise_std: float = 0.01,
        patch_size: int = 16,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
    ) -> None:
        super().__init__()
        if not 0 <= prob <= 1:
            raise ValueError(f'prob of patch-wise augmentation must be in [0, 1], got {prob}')
        if not 0 < min_area <= 1:
            raise ValueError(f'min_area of patch-wise augmentation must be in (0, 1], got {min_area}')
        if noise_std < 0:
            raise ValueError(f'noise_std of patch-wise augmentation must be at least 0, got {noise_std}')
        self.prob = prob
        self.min_area = min_area
        self.noise_std = noise_std
        self.patch_size = patch_size
        mean, std = (torch.tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in (mean, std))
        self.register_buffer('lowest', -mean / std, persistent=False)
        self.register_buffer('highest', (255 - mean) / std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)``, normalised, to the same shape; sides are multiples of ``patch_size``."""
        size = self.patch_size
        if images.size(2) % size or images.size(3) % size:
            raise ValueError(
                f'height and width must be multiples of patch_size={size}, got {images.size(2)} x {images.size(3)}'
            )
        # (B, 3, h, p, w, p) to (P, 3, p, p)
        grid = images.unflatten(3, (-1, size)).unflatten(2, (-1, size)).permute(0, 2, 4, 1, 3, 5)
        patches = self._mirror(self._noise(self._zoom(grid.flatten(0, 2))))
        out = patches.unflatten(0, grid.shape[:3]).permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
        return out.clamp(self.lowest.to(out.dtype), self.highest.to(out.dtype))

    def _zoom(self, patches: Tensor) -> Tensor:
        area = torch.rand_like(patches[:, 0, 0, :1]) * (1 - self.min_area) + self.min_area  # (P, 1)
        side = area.sqrt()
        # affine_grid's coordinates run from -1 to 1 over a patch
        shift = (torch.rand_like(side.expand(-1, 2)) * 2 - 1) * (1 - side)  # (P, 2)
        matrix = torch.cat((torch.diag_embed(side.expand(-1, 2)), shift[..., None]), dim=-1)
        positions = F.affine_grid(matrix, patches.shape, align_corners=False)
        zoomed = F.grid_sample(patches, positions, padding_mode='border', align_corners=False)
        return torch.where(self._chosen(patches), zoomed, patches)

    def _noise(self, patches: Tensor) -> Tensor:
        noise = self.noise_std * torch.randn_like(patches)
        return torch.where(self._chosen(patches), patches + noise, patches)

    def _mirror(self, patches: Tensor) -> Tensor:
        return torch.where(self._chosen(patches), patches.flip(-1), patches)

    def _chosen(self, patches: Tensor) -> Tensor:
        """Which patches a change is made to, ``(P, 1, 1, 1)``."""
        return torch.rand_like(patches[:, :1, :1, :1]) < self.prob
