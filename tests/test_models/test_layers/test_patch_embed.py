import pytest
import torch

from mmrobust.models.layers import PooledStem, TokenPool


@pytest.mark.parametrize('size', [(16, 16), (64, 96), (224, 224)])
def test_pooled_stem_has_stride_16(size):
    with torch.device('meta'):
        assert PooledStem(8)(torch.empty(2, 3, *size)).shape == (2, 8, size[0] // 16, size[1] // 16)


@pytest.mark.parametrize('hw_shape', [(4, 6), (3, 5), (1, 1)])
def test_token_pool_halves_upwards_and_keeps_channels_apart(hw_shape):
    height, width = hw_shape
    pool = TokenPool(3, 6)
    x = torch.randn(2, height * width, 3)
    out, new_shape = pool(x, hw_shape)
    assert new_shape == ((height + 1) // 2, (width + 1) // 2)
    assert out.shape == (2, new_shape[0] * new_shape[1], 6)
    changed, _ = pool(x + torch.tensor([0.0, 1.0, 0.0]), hw_shape)
    assert (changed != out).any(1).any(0).tolist() == [False, False, True, True, False, False]


def test_token_pool_needs_a_multiple():
    with pytest.raises(ValueError, match='got 4 and 6'):
        TokenPool(4, 6)
