"""Coarse maps and one token's attention, from blocks of rows."""

import pytest
import torch

from mmrobust.analysis import CoarseMaps, TokenAttention
from mmrobust.models.layers import AttentionView
from mmrobust.ops import Attention


def random_view(hw_shape: tuple[int, int] = (4, 6), num_prefix_tokens: int = 0) -> AttentionView:
    num_tokens = num_prefix_tokens + hw_shape[0] * hw_shape[1]
    return AttentionView(Attention(*torch.randn(2, 2, 3, num_tokens, 4)), hw_shape, num_prefix_tokens)


def test_small_maps_are_whole():
    view = random_view()
    torch.testing.assert_close(CoarseMaps(64)(view), 24 * view.probs())


def test_cells_are_means():
    view = random_view()
    expected = 24 * view.probs().unflatten(3, (8, 3)).unflatten(2, (8, 3)).mean((3, 5))
    torch.testing.assert_close(CoarseMaps(8)(view), expected)


def test_cells_of_another_number_of_tokens():
    view = random_view((1, 7))
    found = CoarseMaps(3)(view)
    assert found.shape == (2, 3, 3, 3)
    # rows 0-1, 2-3, 4-6; columns as adaptive pooling has them: 0-2, 2-4, 4-6
    torch.testing.assert_close(found[0, 0, 2, 1], 7 * view.probs()[0, 0, 4:7, 2:5].mean())


def test_one_token_on_the_grid():
    view = random_view(num_prefix_tokens=2)
    found = TokenAttention((0.6, 0.99))(view)
    expected = 26 * view.probs()[:, :, 2 + 2 * 6 + 5, 2:].reshape(2, 3, 4, 6)
    torch.testing.assert_close(found, expected)


def test_the_class_token():
    view = random_view(num_prefix_tokens=3)._replace(num_registers=2)
    torch.testing.assert_close(TokenAttention(None)(view), 27 * view.probs()[:, :, 0, 3:].reshape(2, 3, 4, 6))
    with pytest.raises(ValueError, match='with one in front of its patches, got 3 prefix tokens, of which 3 are'):
        TokenAttention(None)(view._replace(num_registers=3))


def test_windows_are_refused():
    view = random_view()._replace(num_windows=1)
    for observe in (CoarseMaps(), TokenAttention((0.5, 0.5))):
        with pytest.raises(ValueError, match='attention in windows has no N x N map'):
            observe(view)


def test_what_is_not_allowed():
    with pytest.raises(ValueError, match='side must be at least 1, got 0'):
        CoarseMaps(0)
    with pytest.raises(ValueError, match=r'two shares from 0 to below 1, got \(0.5, 1.0\)'):
        TokenAttention((0.5, 1.0))
    with pytest.raises(ValueError, match='make up its 24 tokens, got 1 and 4 x 6'):
        TokenAttention((0.5, 0.5))(random_view()._replace(num_prefix_tokens=1))
