import math

import pytest
import torch
import torch.nn.functional as F

from mmrobust.models.layers import FourierPositionEmbed, PositionAwareScaling


def test_equals_the_formula_pairwise():
    torch.manual_seed(0)
    for paired in (True, False):
        layer = FourierPositionEmbed(64, paired)
        layer.token_projection.weight.data = torch.eye(64).view(64, 64, 1, 1)
        layer.token_projection.bias.data.zero_()
        code = layer((3, 5))[0].view(3, 5, 64)
        for row, column, channel in ((0, 0, 0), (2, 4, 7), (1, 3, 30), (1, 3, 31), (2, 1, 37), (0, 4, 62)):
            index, position = channel % 32, (row + 1) / 3 if channel < 32 else (column + 1) / 5
            exponent = 2 * (index // 2) / 32 if paired else index / 32
            angle = position * 2 * math.pi / 10000**exponent
            expected = math.sin(angle) if index % 2 == 0 else math.cos(angle)
            assert abs(code[row, column, channel].item() - expected) < 1e-5


def _scaling(hw_shape, std=2.0):
    scaling = PositionAwareScaling(2, hw_shape)
    torch.nn.init.normal_(scaling.logits, std=std)
    return scaling


def test_trained_grid_is_the_sigmoid_of_the_parameter():
    scaling = _scaling((2, 3))
    assert torch.equal(scaling((2, 3)), scaling.logits.sigmoid())


def test_starts_near_one_half():
    factors = PositionAwareScaling(2, (4, 4))((4, 4))
    assert (factors - 0.5).abs().max() < 0.05 and factors.std() > 0


@pytest.mark.parametrize('hw_shape', [(4, 6), (3, 2), (6, 1), (2, 6)])
def test_other_grids_are_interpolated_over_queries_and_keys(hw_shape):
    """Not as a 6 x 6 image: each axis of the matrix is a grid."""
    scaling = _scaling((2, 3))
    # what bilinear interpolation does to a grid, as a matrix (new tokens, old tokens)
    basis = torch.eye(6).view(6, 1, 2, 3)
    matrix = F.interpolate(basis, hw_shape, mode='bilinear', align_corners=False).flatten(1).T
    expected = torch.einsum('qi,hij,kj->hqk', matrix, scaling.logits, matrix).sigmoid()
    torch.testing.assert_close(scaling(hw_shape), expected)


def test_queries_and_keys_are_not_mixed_up():
    """A factor that depends on the key's row only still does on a larger grid."""
    scaling = PositionAwareScaling(1, (2, 2))
    rows = torch.tensor([0.0, 0.0, 1.0, 1.0])
    scaling.logits.data = rows.expand(1, 4, 4).clone()
    factors = scaling((4, 4))
    torch.testing.assert_close(factors, factors[:, :1].expand(1, 16, 16))
    by_row = factors[0, 0].view(4, 4)
    torch.testing.assert_close(by_row, by_row[:, :1].expand(4, 4))
    assert (by_row[1:, 0] > by_row[:-1, 0]).all()


def test_gradient_reaches_the_parameter_through_interpolation():
    scaling = _scaling((2, 2))
    scaling((3, 5)).sum().backward()
    assert (scaling.logits.grad > 0).all()
