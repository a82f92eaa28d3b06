import pytest
import torch

from mmrobust.models import RVT
from mmrobust.models.backbones.base import is_released
from mmrobust.models.backbones.released_weights import convert_rvt_backbone, convert_rvt_classifier

from .released_rvt import TINY_RVT, as_released_rvt

HEAD = {'head.weight': torch.ones(5, 32), 'head.bias': torch.ones(5)}


def _rvt(**options):
    return RVT(TINY_RVT, **dict(out_type='avg_featmap', img_size=64) | options)


def _released(backbone):
    return as_released_rvt(backbone.state_dict(), TINY_RVT['depth'])


def _assert_same(backbone, other):
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('ffn_type', ['conv', 'linear'])
def test_classifier_round_trip(prefix, ffn_type):
    own = _rvt(tap_cfg=dict(num_branches=3), ffn_type=ffn_type)
    released = {prefix + key: value for key, value in (_released(own) | HEAD).items()}
    assert f'{prefix}transformers.1.blocks.0.attn.qkv.weight' in released
    assert is_released(released, 'RVT') and not is_released(own.state_dict(), 'RVT')
    converted = convert_rvt_classifier(released)
    assert set(converted) == {f'backbone.{key}' for key in own.state_dict()} | {'head.fc.weight', 'head.fc.bias'}
    for key, value in own.state_dict().items():
        assert torch.equal(converted[f'backbone.{key}'], value), key


def test_predictor_of_one_branch_is_left_out():
    released = _released(_rvt())
    for stem in (
        f'transformers.{block}.dilation_predictor.proj' for block in ('0.blocks.0', '0.blocks.1', '1.blocks.0')
    ):
        released |= {f'{stem}.0.weight': torch.zeros(1, 16, 3, 3), f'{stem}.2.weight': torch.zeros(1, 1, 3, 3)}
        released |= {f'{stem}.1.weight': torch.zeros(1)}
    _rvt(tap_cfg=dict(num_branches=1)).load_state_dict(convert_rvt_backbone(released, dense=False))


@pytest.mark.parametrize('out_type', ['featmap', 'avg_featmap'])
@pytest.mark.parametrize('layout', ['released', 'own'])
def test_pretrained(tmp_path, out_type, layout):
    source = _rvt(tap_cfg=dict(num_branches=2))
    if layout == 'released':
        checkpoint = {'model': _released(source) | HEAD}
    else:
        weights = {f'backbone.{key}': value for key, value in source.state_dict().items()}
        checkpoint = {'state_dict': weights | {'head.fc.weight': torch.zeros(3, 32)}}
    torch.save(checkpoint, tmp_path / 'weights.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    options = dict(tap_cfg=dict(num_branches=2), out_type=out_type, out_indices=(2,), init_cfg=init_cfg)
    target = _rvt(**options)
    target.init_weights()
    _assert_same(target, source)
    with pytest.raises(ValueError, match=r'weights.pth does not fit.*another architecture') as error:
        _rvt(**options, ffn_type='linear').init_weights()
    assert 'blocks.0.mlp.bn3.weight' in str(error.value)
