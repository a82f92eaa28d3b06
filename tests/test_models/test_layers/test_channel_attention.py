import torch

from mmrobust.models.layers import ChannelAttention


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
