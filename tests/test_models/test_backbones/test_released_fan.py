import pytest
import torch

from mmrobust.models import FAN
from mmrobust.models.backbones.base import is_released
from mmrobust.models.backbones.released_weights import (
    convert_fan_backbone,
    convert_fan_classifier,
    convert_fan_segmentor,
)
from tests.test_models.test_decode_heads import HEAD_KEYS

from .released import as_released

TINY_VIT = dict(embed_dims=16, depth=3, num_heads=2, feature_blocks=(0, 1, 2))


@pytest.fixture(params=['hybrid', 'vit'])
def arch(request, tiny_hybrid):
    return tiny_hybrid if request.param == 'hybrid' else TINY_VIT


def _classifier(arch, tap_cfg=None):
    return FAN(arch, tap_cfg, out_type='cls_token').state_dict()


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_classifier_round_trip(arch, prefix):
    own = _classifier(arch, dict(num_branches=3))
    released = {prefix + key: value for key, value in as_released(own).items()}
    released |= {f'{prefix}head.weight': torch.ones(5, 16), f'{prefix}head.bias': torch.ones(5)}
    assert is_released(released, 'FAN') and not is_released(own, 'FAN')
    converted = convert_fan_classifier(released)
    assert set(converted) == {f'backbone.{key}' for key in own} | {'head.fc.weight', 'head.fc.bias'}
    for key, value in own.items():
        torch.testing.assert_close(converted[f'backbone.{key}'], value, msg=key)


def test_segmentor(arch):
    own = _classifier(arch, dict(num_branches=3))
    released = {f'backbone.{key}': value for key, value in as_released(own).items() if not key.startswith('norm.')}
    names = [key.replace('conv_seg', 'linear_pred') for key in HEAD_KEYS]
    names = [f'{key[:9]}.proj{key[9:]}' if key.startswith('linear_c') else key for key in names]
    released |= {f'decode_head.{key}': torch.rand(1) for key in names}
    released['decode_head.conv_seg.weight'] = torch.full((1,), 7.0)  # never run by the released head
    converted = convert_fan_segmentor(released)
    dense = {f'backbone.{key}' for key in FAN(arch, dict(num_branches=3)).state_dict()}
    assert set(converted) == dense | {f'decode_head.{key}' for key in HEAD_KEYS}
    assert torch.equal(converted['decode_head.conv_seg.weight'], released['decode_head.linear_pred.weight'])


def test_predictor_of_one_branch_is_left_out(tiny_hybrid):
    released = as_released(_classifier(tiny_hybrid))
    for block in range(2):
        stem = f'blocks.{block}.dilation_predictor.proj'
        released |= {f'{stem}.0.weight': torch.zeros(1, 16, 3, 3), f'{stem}.2.weight': torch.zeros(1, 1, 3, 3)}
        released |= {f'{stem}.1.weight': torch.zeros(1)}
    converted = convert_fan_backbone(released, dense=False)
    FAN(tiny_hybrid, dict(num_branches=1), out_type='cls_token').load_state_dict(converted)


def test_old_class_attention_is_split(tiny_hybrid):
    own = _classifier(tiny_hybrid)
    released = as_released(own)
    for block in range(2):
        stem = f'cls_attn_blocks.{block}.attn'
        for leaf in ('weight', 'bias'):
            parts = [released.pop(f'{stem}.{part}.{leaf}') for part in 'qkv']
            released[f'{stem}.qkv.{leaf}'] = torch.cat(parts)
    released['pos_embeder.token_projection.weight'] = released.pop('pos_embed.token_projection.weight')
    converted = convert_fan_backbone(released, dense=False)
    assert set(converted) == set(own)
    for key, value in own.items():
        torch.testing.assert_close(converted[key], value, msg=key)


def test_second_stage(tiny_hybrid):
    arch = tiny_hybrid | dict(embed_dims=(16, 24), depth=(2, 1), num_heads=(2, 3))
    own = _classifier(arch)
    released = {
        key.replace('downsample.', 'blocks.1.downsample.', 1) if key.startswith('downsample') else key: value
        for key, value in as_released(own).items()
    }
    assert 'blocks.1.downsample.proj.weight' in released
    assert set(convert_fan_backbone(released, dense=False)) == set(own)


def test_stem_norms_give_the_released_result(tiny_hybrid):
    """A released norm divides by C - 1: its weight times sqrt(1 - 1/C) makes it a LayerNorm."""
    released = as_released(_classifier(tiny_hybrid))
    key = 'patch_embed.backbone.stages.0.blocks.0.norm.weight'
    released[key] = torch.rand(128)
    ours = convert_fan_backbone(released, dense=True)['patch_embed.stages.0.0.norm.weight']
    x = torch.randn(4, 128, dtype=torch.float64)
    variance, mean = torch.var_mean(x, dim=1, correction=1, keepdim=True)
    expected = (x - mean) * torch.rsqrt(variance + 1e-6) * released[key]
    torch.testing.assert_close(torch.layer_norm(x, (128,), ours.double(), eps=1e-6), expected, rtol=1e-6, atol=1e-7)
