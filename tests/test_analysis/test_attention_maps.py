"""Coarse maps and one token's attention, from blocks of rows."""

import pytest
import torch

from mmrobust.analysis import CoarseMaps, TokenAttention, token_grid
from mmrobust.models.layers import AttentionView


def random_view(num_tokens: int = 24) -> AttentionView:
    return AttentionView(torch.randn(2, 3, num_tokens, 4), torch.randn(2, 3, num_tokens, 4))


def test_small_maps_are_whole():
    view = random_view()
    torch.testing.assert_close(CoarseMaps(64)(view), 24 * view.probs())


def test_cells_are_means():
    view = random_view()
    expected = 24 * view.probs().unflatten(3, (8, 3)).unflatten(2, (8, 3)).mean((3, 5))
    torch.testing.assert_close(CoarseMaps(8)(view), expected)


def test_cells_of_another_number_of_tokens():
    view = random_view(7)
    found = CoarseMaps(3)(view)
    assert found.shape == (2, 3, 3, 3)
    # rows 0-1, 2-3, 4-6; columns as adaptive pooling has them: 0-2, 2-4, 4-6
    torch.testing.assert_close(found[0, 0, 2, 1], 7 * view.probs()[0, 0, 4:7, 2:5].mean())


def test_one_token_on_the_grid():
    view = random_view(26)  # two prefix tokens, 4 x 6 patches
    found = TokenAttention((0.6, 0.99), (64, 96), num_prefix_tokens=2)(view)
    expected = 26 * view.probs()[:, :, 2 + 2 * 6 + 5, 2:].reshape(2, 3, 4, 6)
    torch.testing.assert_close(found, expected)


def test_windows_are_refused():
    view = random_view()._replace(bias=torch.zeros(1, 3, 24, 24))
    for observe in (CoarseMaps(), TokenAttention((0.5, 0.5), (64, 96))):
        with pytest.raises(ValueError, match='attention in windows has no N x N map'):
            observe(view)


def test_what_is_not_allowed():
    with pytest.raises(ValueError, match='side must be at least 1, got 0'):
        CoarseMaps(0)
    with pytest.raises(ValueError, match=r'two shares from 0 to below 1, got \(0.5, 1.0\)'):
        TokenAttention((0.5, 1.0), (64, 64))


@pytest.mark.parametrize(
    ('num_tokens', 'size', 'expected'),
    [
        (196, (224, 224), (14, 14)),
        (128, (128, 256), (8, 16)),
        (8192, (1024, 2048), (64, 128)),
        (6, (48, 80), (2, 3)),  # a grid of 3 x 5, halved and rounded up
    ],
)
def test_grid(num_tokens, size, expected):
    assert token_grid(num_tokens, size) == expected


def test_no_grid():
    with pytest.raises(ValueError, match='197 tokens do not form a grid of the proportions 224 x 224'):
        token_grid(197, (224, 224))
