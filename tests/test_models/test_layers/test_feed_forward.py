import pytest
import torch
import torch.nn.functional as F

from mmrobust.models.layers import ChannelAttention, ConvFFN, LinearFFN


def test_equals_the_formula_head_by_head():
    torch.manual_seed(0)
    layer = ChannelAttention(6, num_heads=2, mlp_ratio=4, norm_cfg=dict(type='BN')).eval()
    torch.nn.init.uniform_(layer.temperature)
    x = torch.randn(1, 6, 6)
    query, key = layer.q(x).softmax(1), x.softmax(1)
    value = layer.norm_v(layer.mlp_v(x, (2, 3)))
    expected = torch.empty_like(x)
    for head in range(2):
        for channel in range(3 * head, 3 * head + 3):
            mean_key = key[0, :, 3 * head : 3 * head + 3].mean(-1)
            gate = torch.sigmoid((query[0, :, channel] * mean_key).sum()) * layer.temperature[head, 0, 0]
            expected[0, :, channel] = gate * value[0, :, channel]
    torch.testing.assert_close(layer(x, (2, 3)), expected)


def test_depthwise_convolutions_see_the_grid_they_are_told():
    torch.manual_seed(0)
    layer = ChannelAttention(6, num_heads=2, mlp_ratio=4, norm_cfg=dict(type='BN')).eval()
    x = torch.randn(1, 16, 6)
    assert not torch.allclose(layer(x, (2, 8)), layer(x, (4, 4)))


def test_without_the_residual_only_the_convolutions_count():
    layer = ChannelAttention(6, num_heads=2, mlp_ratio=4, norm_cfg=dict(type='BN'), conv_residual=False).mlp_v
    torch.nn.init.zeros_(layer.gamma)
    torch.testing.assert_close(layer(torch.randn(1, 6, 6), (2, 3)), layer.fc2.bias.expand(1, 6, 6))


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
