"""Attention rollout: what the class token sees of the tokens that come into a layer, through all layers from there on.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (ACL 2020, arXiv:2005.00928): the mean map of the
heads of layer l, with half of the identity for the shortcut, ``Â_l = (A_l + I) / 2``, multiplied over the layers. Here
it is the row of the class token in ``Â_L ... Â_l``, for each l; that of the first layer is the rollout to the image::

    r_(L+1) = e_class,   r_l = r_(l+1) Â_l                        sums to 1
    rollout_patches   exp(-sum_(j > P) b_j log b_j)               with b_j = r_j / (its sum over the patches)

A row times a matrix needs no N x N product, so a map is only ever there in blocks of rows. But the last layer comes
first: query and key of all layers are kept, which grows linearly with tokens and layers.
"""

# B batch, H heads, N = P + Hp * Wp tokens, P prefix tokens

from collections.abc import Sequence

import torch
from torch import Tensor

from mmrobust.models.layers import AttentionView

_BLOCK_ENTRIES = 2**22  # of a (B, H, r, N) block, 16 MiB in float32


def has_rollout(views: Sequence[AttentionView]) -> bool:
    """Whether there is a class token, attention is not in windows, and all layers have the same tokens."""
    return len({view.attention.query.size(2) for view in views}) == 1 and all(
        view.has_class_token and view.num_windows is None for view in views
    )


@torch.no_grad()
def attention_rollout(views: Sequence[AttentionView], block_entries: int = _BLOCK_ENTRIES) -> list[Tensor]:
    """``r_l`` of each layer, first layer first: ``(B, N)`` each, sums to 1.

    Args:
        views: of all layers, as ``observe`` was handed them.
        block_entries: how many entries of the maps are computed at once.

    Raises:
        ValueError: there is no rollout, see :func:`has_rollout`.
    """
    if not has_rollout(views):
        raise ValueError(
            'attention rollout must be of layers with one class token and the same tokens, without windows; such are '
            'those of mmrobust.TimmViT and mmrobust.DeiT with a class token and observed_tokens="all"'
        )
    batch, heads, num_tokens, _ = views[0].attention.query.shape
    step = max(1, block_entries // (batch * heads * num_tokens))
    seen = torch.zeros(batch, num_tokens, device=views[0].attention.query.device)
    seen[:, 0] = 1
    found = []
    for view in reversed(views):
        through = torch.zeros_like(seen)
        for start in range(0, num_tokens, step):
            through += (
                torch.einsum('br,bhrk->bk', seen[:, start : start + step], view.rows(start, start + step)) / heads
            )
        seen = (seen + through) / 2
        found.append(seen)
    return found[::-1]


def rollout_statistics(views: Sequence[AttentionView]) -> list[dict[str, Tensor]]:
    """``rollout_patches`` of each layer, ``(B, 1)``; nothing for layers that have no rollout."""
    if not has_rollout(views):
        return [{} for _ in views]
    found = []
    for seen in attention_rollout(views):
        patches = seen[:, views[0].num_prefix_tokens :]
        shares = patches / patches.sum(-1, keepdim=True)
        found.append({'rollout_patches': torch.special.entr(shares).sum(-1, keepdim=True).exp()})
    return found
