import pytest
import torch
import torch.nn.functional as F

from mmrobust.models.layers import ConvFFN, LinearFFN


@pytest.mark.parametrize('hw_shape', [(2, 6), (4, 3)])
def test_conv_ffn_equals_the_formula_on_maps(hw_shape):
    layer = ConvFFN(4, 8, dict(type='BN'))
    x = torch.randn(2, 12, 4)
    maps = x.transpose(1, 2).reshape(2, 4, *hw_shape)
    hidden = F.gelu(F.batch_norm(layer.fc1(maps), None, None, training=True))
    hidden = F.gelu(F.batch_norm(layer.dwconv(hidden), None, None, training=True))
    expected = F.batch_norm(layer.fc2(hidden), None, None, training=True)
    torch.testing.assert_close(layer(x, hw_shape), expected.flatten(2).transpose(1, 2))


def test_conv_ffn_looks_one_token_far():
    layer = ConvFFN(2, 8, dict(type='BN')).eval()
    x = torch.randn(1, 25, 2)
    changed = x.clone()
    changed[0, 12] += 1  # the middle of 5 x 5
    difference = (layer(changed, (5, 5)) - layer(x, (5, 5))).abs().sum(-1).view(5, 5) > 1e-7
    assert difference[1:4, 1:4].all() and difference.sum() == 9


def test_linear_ffn_treats_tokens_alone():
    layer = LinearFFN(4, 8)
    x = torch.randn(2, 6, 4)
    torch.testing.assert_close(layer(x, (2, 3))[:, 4:5], layer(x[:, 4:5], (1, 1)))
    torch.testing.assert_close(layer(x, (2, 3)), layer.fc2(F.gelu(layer.fc1(x))))


def test_norm_is_configurable():
    layer = ConvFFN(4, 8, dict(type='GN', num_groups=2))
    assert all(isinstance(norm, torch.nn.GroupNorm) for norm in (layer.bn1, layer.bn2, layer.bn3))


@pytest.mark.parametrize('layer', [ConvFFN(4, 64, dict(type='BN'), 0.5), LinearFFN(4, 64, 0.5)])
def test_dropout_in_training_only(layer):
    x = torch.randn(1, 6, 4)
    assert not torch.equal(layer(x, (2, 3)), layer(x, (2, 3)))
    layer.eval()
    assert torch.equal(layer(x, (2, 3)), layer(x, (2, 3)))
