"""Statistics of the attention of one layer, head by head, from one pass over blocks of rows.

``A`` is the N x N map of one head for one image: row i says what token i attends to, and sums to 1. ``A'`` is the map
of the corrupted image. With the share of all attention that column j receives::

    s_j = 1/N * sum_i A_ij                                        (sum_j s_j = 1)

Overfocusing (paper, Sec. 1 and 3.1, without a formula): rows look at few columns, and at the same ones.

    top_share              sum of the k largest s_j               1 for k sinks, k/N for no preference
    column_entropy         -sum_j s_j log s_j / log N             0 for one sink, 1 for no preference
    effective_tokens       exp(-sum_j s_j log s_j)                tokens that all rows together attend to, 1 to N
    row_effective_tokens   1/N * sum_i exp(-sum_j A_ij log A_ij)  tokens that a single row attends to, 1 to N

The last two tell the halves of that sentence apart: attention on the diagonal has N effective tokens and 1 per row.

Attention sinks, as today's papers call what the paper calls overfocusing (Gu et al., "When Attention Sink Emerges in
Language Models", ICLR 2025, arXiv:2410.10781: their ``alpha_j`` is ``s_j``, over the rows that may see j, and a head
has a sink where ``alpha_1`` of the first token is above 0.3). In a vision transformer a sink may lie anywhere; so there
is the largest besides the first::

    sink_share             max_j s_j                              attention on the token that gets most
    sink_rate              1[max_j s_j > 0.3]                     the mean over heads is the share of heads with a sink
    first_share            s_1                                    the class token, where there is one
    register_share         sum of s_j over the registers          (Darcet et al., arXiv:2309.16588)

What the class token attends to, ``a = A_1``, over the P prefix tokens and the patches::

    class_patch_share      sum_(j > P) a_j                        the rest goes to prefix tokens, itself included
    class_patches          exp(-sum_(j > P) b_j log b_j)          with b_j = a_j over that: it looks at so many

Diagonality (Sec. 4.1.2 speaks of a diagonal pattern, and of one "expanded to the nearby areas"):

    self_share             1/N * sum_i A_ii                       attention of a token to itself
    neighbour_share        1/N * sum_i sum_{j near i} A_ij        within the 3 x 3 patches around it, itself included

Similarity of heads (Sec. 4.1.2: 0.63 for the baseline, 0.27 with TAP and ADL; its formula is announced for the
supplement and not there, so both readings of "cosine similarity of attention maps between any two heads"). For head a:

    head_similarity_map    1/(H-1) * sum_{b != a} cos(vec A^a, vec A^b)
    head_similarity_rows   1/(H-1) * sum_{b != a} 1/N * sum_i cos(A^a_i, A^b_i)

The mean over the heads of a layer is the mean over its pairs. A layer of one head has neither.

Stability (Sec. 3.1, Fig. 1 and 5: "cosine similarity between the clean and corrupted attention maps", both readings):

    stability_map          cos(vec A, vec A')
    stability_rows         1/N * sum_i cos(A_i, A'_i)

Windows. Where attention is confined to windows, or to regions of a shifted window, each of them is a map of its own
with N the number of its keys. What is made of ``s_j`` is then the mean over the windows, weighted by their rows; the
others run over all rows of all windows, and ``vec A`` is all windows of the image in one vector. Rows of padding take
no part. No window has a first token: there is no ``first_share``.

Prefix tokens (class, distillation, registers) are rows and columns like all others where the view holds them;
``neighbour_share`` counts rows of patches only.
"""

# I images, B = I maps, or I times the windows of an image; H heads, N tokens, S regions, r rows of a block

import functools
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mmrobust.models.layers import AttentionView

_BLOCK_ENTRIES = 2**22  # of a (B, H, r, N) block, 16 MiB in float32; a handful of such blocks is alive at once
_SINK = 0.3  # the share of attention that makes a token a sink
_TINY = 1e-18  # its square is above 0 in float32: a row of padding, set to 0, is divided by it


class Statistic(NamedTuple):
    """How a statistic is shown.

    Attributes:
        label: what an axis says.
        from_one: a number from 1 on, such as of tokens; else a share or a cosine, 0 to 1.
        of_pairs: compares a clean image with its corrupted one.
        of_heads: each head has its own; else it is one number for a layer.
        is_rate: each value is 0 or 1, so that the mean says something, and the median does not.
    """

    label: str
    from_one: bool = False
    of_pairs: bool = False
    of_heads: bool = True
    is_rate: bool = False


STATISTICS = {
    'top_share': Statistic('attention share of the top columns'),
    'column_entropy': Statistic('entropy of columns divided by log N'),
    'effective_tokens': Statistic('effective tokens of all rows', from_one=True),
    'row_effective_tokens': Statistic('effective tokens of a row', from_one=True),
    'sink_share': Statistic('attention share of the largest sink'),
    'sink_rate': Statistic('share of heads with a sink', is_rate=True),
    'first_share': Statistic('attention share of the first token'),
    'register_share': Statistic('attention share of the registers'),
    'class_patch_share': Statistic('share that the class token gives to patches'),
    'class_patches': Statistic('effective patches of the class token', from_one=True),
    'rollout_patches': Statistic('effective patches of the rollout', from_one=True, of_heads=False),
    'norm_ratio': Statistic('largest over median norm of the patches', from_one=True, of_heads=False),
    'outlier_share': Statistic('share of patches with an outlier norm', of_heads=False),
    'activation_ratio': Statistic('largest over median activation', from_one=True, of_heads=False),
    'self_share': Statistic('attention share of the token itself'),
    'neighbour_share': Statistic('attention share of the 3 x 3 patches'),
    'head_similarity_map': Statistic('cosine of heads, of whole maps'),
    'head_similarity_rows': Statistic('cosine of heads, mean over rows'),
    'stability_map': Statistic('cosine clean to corrupted, of whole maps', of_pairs=True),
    'stability_rows': Statistic('cosine clean to corrupted, mean over rows', of_pairs=True),
}


class AttentionStatistics:
    """An ``observe`` function: the statistics of one layer, as the module's docstring defines them.

    Args:
        paired: the second half of the batch is the first half corrupted. Only then there is stability.
        top_k: k of ``top_share``, at least 1.
        block_entries: how many entries of the maps are computed at once.

    Raises:
        ValueError: ``top_k`` is below 1.
    """

    def __init__(
        self,
        paired: bool = False,
        top_k: int = 5,
        block_entries: int = _BLOCK_ENTRIES,
    ) -> None:
        if top_k < 1:
            raise ValueError(f'top_k must be at least 1, got {top_k}')
        self.paired = paired
        self.top_k = top_k
        self.block_entries = block_entries

    @torch.no_grad()
    def __call__(self, view: AttentionView) -> dict[str, Tensor]:
        """Statistic to ``(I, H)`` float; those of pairs are ``(I / 2, H)``.

        Raises:
            ValueError: the tokens are no grid with prefix tokens in front of it, keys are not as many as queries, or a
                paired batch has an odd number of images.
        """
        query, key, *_, regions, key_regions = view.attention
        batch, heads, num_tokens, _ = query.shape
        num_windows = 1 if view.num_windows is None else view.num_windows
        if key.size(2) != num_tokens:
            raise ValueError(f'a map must have as many keys as queries, got {key.size(2)} and {num_tokens}')
        if self.paired and batch // num_windows % 2:
            raise ValueError(
                f'a batch of clean and corrupted images must have an even number, got {batch // num_windows}'
            )
        per_image = functools.partial(_sum_of_windows, num_windows=num_windows)
        if regions is None:
            regions = query.new_ones(batch, 1, num_tokens, dtype=torch.bool)
        counted = regions.any(1)[:, None]  # (B, 1, N)
        place, on_grid = _places(view)

        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=query.device))
        step = max(1, self.block_entries // (batch * heads * num_tokens))
        for start in range(0, num_tokens, step):
            block = slice(start, start + step)
            probs = view.rows(start, start + step)  # (B, H, r, N)
            valid = counted[..., block].to(probs.dtype)  # (B, 1, r)
            near = ((place[:, block, None] - place[:, None]).abs() <= 1).all(0) & on_grid[block, None]  # (r, N)
            sums['columns'] = sums['columns'] + regions[:, None, :, block].to(probs.dtype) @ probs  # (B, H, S, N)
            sums['effective'] = sums['effective'] + (torch.special.entr(probs).sum(-1).exp() * valid).sum(-1)
            sums['self'] = sums['self'] + (probs.diagonal(start, -2, -1) * valid).sum(-1)
            to_near = torch.einsum('bhrk,rk->bhr', probs, near.to(probs.dtype))
            sums['near'] = sums['near'] + (to_near * valid).sum(-1)

            by_row = probs.transpose(1, 2)
            gram = by_row @ by_row.transpose(-2, -1) * valid.transpose(1, 2)[..., None]  # (B, r, H, H)
            norms = gram.diagonal(dim1=-2, dim2=-1).sqrt().clamp(min=_TINY)  # (B, r, H)
            sums['gram'] = sums['gram'] + gram.sum(1)
            sums['gram_rows'] = sums['gram_rows'] + (gram / (norms[..., None] * norms[..., None, :])).sum(1)
            if self.paired:
                dot = torch.einsum('bhrk,bhrk->bhr', *probs.chunk(2)) * valid.chunk(2)[0]
                sums['dot'] = sums['dot'] + dot.sum(-1)
                sums['dot_rows'] = sums['dot_rows'] + (dot / torch.mul(*norms.transpose(1, 2).chunk(2))).sum(-1)

        rows = per_image(counted.sum(-1))  # (I, 1)
        found = _of_columns(sums['columns'], regions, key_regions, self.top_k, per_image)
        if view.num_windows is None and key_regions is None:
            found |= _of_prefix_tokens(view, sums['columns'][:, :, 0] / num_tokens)
        found['row_effective_tokens'] = per_image(sums['effective']) / rows
        found['self_share'] = per_image(sums['self']) / rows
        found['neighbour_share'] = per_image(sums['near']) / per_image((counted & on_grid).sum(-1))
        gram = per_image(sums['gram'])  # (I, H, H)
        norms = gram.diagonal(dim1=-2, dim2=-1).sqrt()
        if heads > 1:
            cosines = gram / (norms[..., None] * norms[..., None, :])
            found['head_similarity_map'] = (cosines.sum(-1) - 1) / (heads - 1)
            found['head_similarity_rows'] = ((per_image(sums['gram_rows']) / rows[..., None]).sum(-1) - 1) / (heads - 1)
        if self.paired:
            found['stability_map'] = per_image(sums['dot']) / torch.mul(*norms.chunk(2))
            found['stability_rows'] = per_image(sums['dot_rows']) / rows.chunk(2)[0]
        return found


def _places(view: AttentionView) -> tuple[Tensor, Tensor]:
    """Row and column of every token, ``(2, N)``, and which of them are patches, ``(N,)``."""
    view.check_grid()
    query, (_, width) = view.attention.query, view.hw_shape
    index = torch.arange(query.size(2), device=query.device) - view.num_prefix_tokens
    place = torch.stack((index.div(width, rounding_mode='floor'), index % width))
    place[:, index < 0] = -2  # near no patch
    return place, index >= 0


def _of_prefix_tokens(view: AttentionView, shares: Tensor) -> dict[str, Tensor]:
    """What the first token and the registers are given, ``(B, H, N)`` the shares, and where the class token looks."""
    num_prefix_tokens, num_registers = view.num_prefix_tokens, view.num_registers
    found = {'first_share': shares[..., 0]}
    if num_registers:
        found['register_share'] = shares[..., num_prefix_tokens - num_registers : num_prefix_tokens].sum(-1)
    if view.has_class_token:
        to_patches = view.rows(0, 1)[:, :, 0, num_prefix_tokens:]
        total = to_patches.sum(-1, keepdim=True)
        found['class_patch_share'] = total[..., 0]
        found['class_patches'] = torch.special.entr(to_patches / total.clamp(min=_TINY)).sum(-1).exp()
    return found


def _sum_of_windows(values: Tensor, num_windows: int) -> Tensor:
    """``(B, ...)`` to ``(I, ...)``; pairs have one value for two images, and so half as many in both."""
    return values.unflatten(0, (-1, num_windows)).sum(1)


def _of_columns(
    columns: Tensor,
    regions: Tensor,
    key_regions: Tensor | None,
    top_k: int,
    per_image: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Overfocusing from the sums of columns ``(B, H, S, N)``."""
    num_rows = regions.sum(-1)[:, None]  # (B, 1, S)
    num_keys = (regions if key_regions is None else key_regions).sum(-1)[:, None]
    shares = columns / num_rows.clamp(min=1)[..., None]
    entropy = torch.special.entr(shares).sum(-1)  # (B, H, S)
    largest = shares.topk(min(top_k, shares.size(-1)), dim=-1).values
    values = {
        'top_share': largest.sum(-1),
        'sink_share': largest[..., 0],
        'sink_rate': (largest[..., 0] > _SINK).to(shares.dtype),
        # a single key leaves no choice: no preference
        'column_entropy': torch.where(num_keys > 1, entropy / num_keys.clamp(min=2).log(), 1.0),
        'effective_tokens': entropy.exp(),
    }
    total = per_image(num_rows).sum(-1)
    return {name: per_image(value * num_rows).sum(-1) / total for name, value in values.items()}
