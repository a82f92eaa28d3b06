"""Massive activations and tokens of outlier norm, which come with attention sinks.

``x`` is the ``(N, C)`` tokens that come into a layer, before its norm, as they go on along its shortcut. Of the patches
j, after Darcet et al., "Vision Transformers Need Registers" (ICLR 2024, arXiv:2309.16588), who choose a norm of 150 by
hand, above which a patch of their DINOv2 is an outlier; here it is a multiple, which needs no choice for each network::

    norm_ratio        max_j |x_j| / median_j |x_j|
    outlier_share     share of the patches with |x_j| > 3 median_j |x_j|

Of all tokens i and channels c, after Sun et al., "Massive Activations in Large Language Models" (COLM 2024,
arXiv:2402.17762), for whom the largest is massive if it is about 1000 times the median, and above 100 besides::

    activation_ratio  max |x_ic| / median |x_ic|

The median of an even number is the lower one of the two in the middle. These are of a layer and an image, and not of a
head.
"""

# I images, N tokens, C channels

import torch
from torch import Tensor

from mmrobust.models.layers import AttentionView


class TokenNorms:
    """An ``observe`` function: the norms of the tokens of one layer, as the module's docstring defines them.

    Args:
        outlier_ratio: norm of an outlier, in multiples of the median, at least 1.

    Raises:
        ValueError: ``outlier_ratio`` is below 1.
    """

    def __init__(self, outlier_ratio: float = 3.0) -> None:
        if not outlier_ratio >= 1:
            raise ValueError(f'outlier_ratio must be at least 1, got {outlier_ratio}')
        self.outlier_ratio = outlier_ratio

    @torch.no_grad()
    def __call__(self, view: AttentionView) -> dict[str, Tensor]:
        """Statistic to ``(I, 1)`` float; empty for a view that does not know its tokens."""
        if view.tokens is None:
            return {}
        tokens = view.tokens.float()
        norms = tokens[:, view.num_prefix_tokens :].norm(dim=-1)
        middle = norms.median(-1, keepdim=True).values
        sizes = tokens.abs().flatten(1)
        return {
            'norm_ratio': norms.amax(-1, keepdim=True) / middle,
            'outlier_share': (norms > self.outlier_ratio * middle).float().mean(-1, keepdim=True),
            'activation_ratio': sizes.amax(-1, keepdim=True) / sizes.median(-1, keepdim=True).values,
        }
