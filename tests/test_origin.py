"""Whose weights some names are."""

import pytest
import torch

from mmrobust.models import FAN, RVT, Swin
from mmrobust.origin import origin_of
from tests.test_models.test_backbones.released import as_released
from tests.test_models.test_backbones.released_rvt import TINY_RVT, as_released_rvt

ARCH = dict(embed_dims=16, depth=3, num_heads=2, feature_blocks=(0, 1, 2))
SWIN = dict(embed_dims=8, depth=(1, 1), num_heads=(1, 2), window_size=4)
VIT = ['cls_token', 'pos_embed', 'patch_embed.proj.weight', 'blocks.0.attn.qkv.weight', 'norm.weight']


def _names(case: str) -> list[str]:
    with torch.device('cpu'):
        fan = FAN(ARCH, dict(num_branches=2) if 'TAP' in case else None, out_type='cls_token').state_dict()
        rvt = RVT(TINY_RVT, dict(num_branches=2) if 'TAP' in case else None, out_type='avg_featmap').state_dict()
    names = {
        'own FAN': fan,
        'released FAN': as_released(fan),
        'released TAP-FAN': as_released(fan),
        'own RVT': rvt,
        'released RVT': as_released_rvt(rvt, TINY_RVT['depth']),
        'released TAP-RVT': as_released_rvt(rvt, TINY_RVT['depth']),
        'own Swin': Swin(SWIN, out_type='avg_featmap', out_indices=(1,)).state_dict(),
        'released Swin': ['layers.0.blocks.0.norm1.weight', 'layers.1.downsample.norm.weight', 'head.weight'],
        'ViT': [*VIT, 'head.weight'],
        'distilled ViT': [*VIT, 'dist_token', 'head_dist.weight'],
        'ViT with TAP': [*VIT, 'blocks.0.tap.predictor.0.weight'],
        'self-supervised ViT': [*(f'backbone.{name}' for name in VIT), 'head.mlp.0.weight', 'head.last_layer.weight_g'],
        'ViT in a task model': [*(f'backbone.{name}' for name in VIT), 'head.fc.weight'],
        'MMPretrain': ['backbone.layers.0.ln1.weight', 'backbone.cls_token', 'head.fc.weight'],
        'MMSegmentation': ['backbone.layer1.0.conv1.weight', 'decode_head.conv_seg.weight'],
        'torchvision': ['conv1.weight', 'layer1.0.conv1.weight', 'fc.weight'],
    }
    return list(names[case])


@pytest.mark.parametrize(
    ('case', 'expected'),
    [
        ('own FAN', ('mmrobust', 'FAN', 'backbone')),
        ('released FAN', ('NVlabs FAN', 'FAN', 'backbone')),
        ('released TAP-FAN', ('TAPADL', 'FAN', 'backbone')),
        ('own RVT', ('mmrobust', 'RVT', 'backbone')),
        ('released RVT', ('RVT', 'RVT', 'backbone')),
        ('released TAP-RVT', ('TAPADL', 'RVT', 'backbone')),
        ('own Swin', ('mmrobust', 'Swin', 'backbone')),
        ('released Swin', ('Swin', 'Swin', 'classifier')),
        ('ViT', ('timm', 'ViT', 'classifier')),
        ('distilled ViT', ('timm', 'ViT', 'classifier')),
        ('ViT with TAP', ('mmrobust', 'ViT', 'backbone')),
        ('self-supervised ViT', ('timm', 'ViT', 'backbone')),
        ('ViT in a task model', ('mmrobust', 'ViT', 'classifier')),
        ('MMPretrain', ('mmpretrain', '', 'classifier')),
        ('MMSegmentation', ('mmseg', '', 'segmentor')),
        ('torchvision', ('unknown', '', 'classifier')),
    ],
)
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_origin(case, expected, prefix):
    origin = origin_of([prefix + name for name in _names(case)])
    assert tuple(origin) == expected
    assert origin.is_foreign == (expected[0] in ('timm', 'NVlabs FAN', 'TAPADL', 'RVT', 'Swin'))
    assert origin.use and str(origin).endswith(expected[2])


@pytest.mark.parametrize('head', ['head.', 'decode_head.'])
def test_in_a_task_model(head):
    """The same names below ``backbone.``, as in checkpoints of this project and in released segmentors."""
    for case, kind in (('own FAN', 'mmrobust'), ('released TAP-FAN', 'TAPADL'), ('own Swin', 'mmrobust')):
        origin = origin_of([*(f'backbone.{name}' for name in _names(case)), f'{head}conv_seg.weight'])
        assert (origin.kind, origin.part) == (kind, 'segmentor' if 'decode' in head else 'classifier')
