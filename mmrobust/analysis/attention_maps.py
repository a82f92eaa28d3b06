"""Attention maps for figures: coarsened while they are computed in blocks of rows."""

# B batch, H heads, N tokens, m cells along a side of a coarse map

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from mmrobust.models.layers import AttentionView


class CoarseMaps:
    """An ``observe`` function: the N x N map of every head as m x m cells, m = min(N, ``side``).

    A cell is the mean over its queries and keys, in multiples of the uniform attention 1 / N: 1 is no preference, N is
    all attention of a row on one token. So what ADL drops is what lies below its ``tau``.

    Args:
        side: cells along a side, at least 1.
    """

    def __init__(self, side: int = 256) -> None:
        if side < 1:
            raise ValueError(f'side must be at least 1, got {side}')
        self.side = side

    @torch.no_grad()
    def __call__(self, view: AttentionView) -> Tensor:
        """``(B, H, m, m)``.

        Raises:
            ValueError: attention is confined to windows, so that there is no N x N map.
        """
        refuse_windows(view)
        num_tokens = view.attention.query.size(2)
        side = min(self.side, num_tokens)
        edges = [cell * num_tokens // side for cell in range(side + 1)]
        rows = [
            F.adaptive_avg_pool1d(view.rows(start, stop).mean(2), side) for start, stop in itertools.pairwise(edges)
        ]
        return num_tokens * torch.stack(rows, dim=2)


class TokenAttention:
    """An ``observe`` function: what one token attends to, head by head, in multiples of the uniform attention 1 / N.

    What it attends to among prefix tokens, such as a class token, is not shown.

    Args:
        place: row and column of the token among the patches, each a share of the image's height and width in [0, 1);
            None for the class token.
    """

    def __init__(self, place: tuple[float, float] | None) -> None:
        if place is not None and not all(0 <= share < 1 for share in place):
            raise ValueError(f'the place of a token must be two shares from 0 to below 1, got {place}')
        self.place = place

    @torch.no_grad()
    def __call__(self, view: AttentionView) -> Tensor:
        """``(B, H, Hp, Wp)``.

        Raises:
            ValueError: attention is confined to windows, the view's grid is not that of its tokens, or there is no
                class token.
        """
        refuse_windows(view)
        view.check_grid()
        index = self._index(view)
        attended = view.rows(index, index + 1)[:, :, 0, view.num_prefix_tokens :]
        return view.attention.query.size(2) * attended.unflatten(-1, view.hw_shape)

    def _index(self, view: AttentionView) -> int:
        if self.place is not None:
            row, column = (int(share * length) for share, length in zip(self.place, view.hw_shape, strict=True))
            return view.num_prefix_tokens + row * view.hw_shape[1] + column
        if not view.has_class_token:
            raise ValueError(
                'the attention of the class token must be of a view with one in front of its patches, got '
                f'{view.num_prefix_tokens} prefix tokens, of which {view.num_registers} are registers'
            )
        return 0


def refuse_windows(view: AttentionView) -> None:
    """Raise a ValueError for attention in windows."""
    if view.num_windows is not None:
        raise ValueError(
            'attention in windows has no N x N map to draw; its statistics are those of attention_statistics.py'
        )
