"""``init_cfg=dict(type='Pretrained')`` takes our checkpoints and released ones, and nothing that does not fit."""

import argparse

import pytest
import torch

from mmrobust.models import FAN, TimmViT

from .released import as_released


def _saved(tmp_path, state_dict, **extra):
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': state_dict, **extra}, path)
    return dict(type='Pretrained', checkpoint=str(path))


def _assert_same(backbone, other):
    for key, value in backbone.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[key], msg=key)


@pytest.mark.parametrize('out_type', ['featmap', 'cls_token'])
def test_own_classifier(tmp_path, tiny_hybrid, out_type):
    source = FAN(tiny_hybrid, dict(num_branches=2), out_type='cls_token')
    state_dict = {f'backbone.{key}': value for key, value in source.state_dict().items()}
    state_dict['head.fc.weight'] = torch.zeros(3, 16)
    target = FAN(tiny_hybrid, dict(num_branches=2), out_type, init_cfg=_saved(tmp_path, state_dict))
    target.init_weights()
    _assert_same(target, source)


@pytest.mark.parametrize('out_type', ['featmap', 'cls_token'])
def test_released_classifier(tmp_path, tiny_hybrid, out_type):
    source = FAN(tiny_hybrid, dict(num_branches=2), out_type='cls_token')
    state_dict = {f'module.{key}': value for key, value in as_released(source.state_dict()).items()}
    init_cfg = _saved(tmp_path, state_dict, args=argparse.Namespace(lr=1.0))
    target = FAN(tiny_hybrid, dict(num_branches=2), out_type, init_cfg=init_cfg)
    target.init_weights()
    _assert_same(target, source)


def test_other_arch_is_named(tmp_path, tiny_hybrid):
    source = FAN(tiny_hybrid)
    target = FAN(tiny_hybrid, dict(num_branches=2), init_cfg=_saved(tmp_path, source.state_dict()))
    with pytest.raises(ValueError, match=r'weights.pth does not fit.*14 missing.*another architecture') as error:
        target.init_weights()
    assert all(f'blocks.{block}.tap.predictor.2.weight' in str(error.value) for block in (0, 1))


@pytest.mark.parametrize('released', [False, True])
def test_weights_of_before_pytorch_041(tmp_path, tiny_hybrid, released):
    """Batch norms did not count batches yet."""
    source = FAN(tiny_hybrid, dict(num_branches=2))
    names = as_released(source.state_dict()) if released else source.state_dict()
    old = {key: value for key, value in names.items() if not key.endswith('num_batches_tracked')}
    assert len(old) < len(names)
    target = FAN(tiny_hybrid, dict(num_branches=2), init_cfg=_saved(tmp_path, old))
    target.init_weights()
    _assert_same(target, source)


def _released_of(name, tiny_hybrid):
    if name == 'FAN':
        source = FAN(tiny_hybrid, out_type='cls_token')
        return source, as_released(source.state_dict())
    pytest.importorskip('timm')
    source = TimmViT('test_vit', out_type='cls_token')
    return source, source.state_dict()


@pytest.mark.parametrize('name', ['FAN', 'TimmViT'])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_an_auxiliary_head_is_ignored_and_said(tmp_path, tiny_hybrid, name, prefix):
    source, released = _released_of(name, tiny_hybrid)
    released = {prefix + key: value for key, value in released.items()}
    released |= {
        f'{prefix}{head}.{leaf}': torch.ones(2) for head in ('head', 'aux_head') for leaf in ('weight', 'bias')
    }
    target, _ = _released_of(name, tiny_hybrid)
    target.init_cfg = _saved(tmp_path, released)
    with pytest.warns(UserWarning, match=r'^2 keys of an auxiliary head \(aux_head\.\*\) in .*weights.pth are ignored'):
        target.init_weights()
    _assert_same(target, source)


def test_random_weights_are_said(tiny_hybrid):
    with pytest.warns(UserWarning, match='starts from random weights'):
        FAN(tiny_hybrid).init_weights()
