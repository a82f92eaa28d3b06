import torch
from torch.nn.functional import interpolate

from mmrobust.models import FANSegformerHead

HEAD_KEYS = {
    *(f'linear_c{level}.{leaf}' for level in (1, 2, 3, 4) for leaf in ('weight', 'bias')),
    'linear_fuse.conv.weight',
    *(f'linear_fuse.bn.{leaf}' for leaf in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')),
    'conv_seg.weight',
    'conv_seg.bias',
}


def _head():
    return FANSegformerHead(
        in_channels=[3, 4, 5, 5], in_index=[0, 1, 2, 3], channels=6, num_classes=7, norm_cfg=dict(type='BN')
    ).eval()


def test_equals_the_formula():
    head = _head()
    torch.nn.init.normal_(head.conv_seg.weight)
    maps = [torch.randn(2, c, 16 // s, 24 // s) for c, s in ((3, 1), (4, 2), (5, 4), (5, 4))]
    levels = []
    for level, features in enumerate(maps, start=1):
        linear = getattr(head, f'linear_c{level}')
        projected = torch.einsum('bchw,dc->bdhw', features, linear.weight) + linear.bias[:, None, None]
        levels.append(interpolate(projected, size=(16, 24), mode='bilinear', align_corners=False))
    fused = head.linear_fuse(torch.cat([levels[3], levels[2], levels[1], levels[0]], dim=1))
    torch.testing.assert_close(head(maps), head.conv_seg(fused))


def test_keys_are_those_the_converter_writes():
    assert set(_head().state_dict()) == HEAD_KEYS
