"""The converter of released FAN weights, as a user runs it."""

import argparse
import pickle
from pathlib import Path

import pytest
import torch

from mmrobust.models import FAN
from mmrobust.models.backbones.fan import ARCHS
from tests.test_models.test_backbones.released import as_released

TOOL = 'model_converters/fan2mmrobust.py'


@pytest.fixture
def released(monkeypatch, tiny_hybrid):
    """A released classifier of an arch small enough for a test."""
    monkeypatch.setitem(ARCHS, 'nano_hybrid', tiny_hybrid)
    state_dict = as_released(FAN('nano_hybrid', dict(num_branches=2), out_type='cls_token').state_dict())
    return state_dict | {'head.weight': torch.rand(3, 16), 'head.bias': torch.rand(3)}


def _convert(tool, tmp_path, checkpoint, *options):
    torch.save(checkpoint, tmp_path / 'released.pth')
    tool.main([str(tmp_path / 'released.pth'), str(tmp_path / 'out/converted.pth'), *options])
    return torch.load(tmp_path / 'out/converted.pth', weights_only=True)


def test_classifier(tool, tmp_path, capsys, released):
    timm = {'arch': 'tap_fan', 'state_dict': released, 'args': argparse.Namespace(lr=0.1), 'version': 2}
    converted = _convert(tool, tmp_path, timm)
    assert "classifier, arch='nano_hybrid', with TAP, num_branches=2" in capsys.readouterr().out
    assert converted['meta'] == dict(arch='nano_hybrid', num_branches=2)
    assert torch.equal(converted['state_dict']['head.fc.bias'], released['head.bias'])
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'out/converted.pth'))
    FAN('nano_hybrid', dict(num_branches=2), init_cfg=init_cfg).init_weights()


def test_averaged_weights(tool, tmp_path, released):
    averaged = released | {'head.bias': torch.full((3,), 7.0)}
    converted = _convert(tool, tmp_path, {'state_dict': released, 'state_dict_ema': averaged}, '--ema')
    assert (converted['state_dict']['head.fc.bias'] == 7).all()


def test_checkpoint_of_stl(tool, tmp_path, released):
    """Its auxiliary head is of no use here."""
    auxiliary = {'aux_head.weight': torch.rand(3, 16), 'aux_head.bias': torch.rand(3)}
    with pytest.warns(UserWarning, match=r'2 keys of an auxiliary head \(aux_head\.\*\) in .*released.pth are ignored'):
        converted = _convert(tool, tmp_path, {'state_dict': released | auxiliary})
    assert torch.equal(converted['state_dict']['head.fc.bias'], released['head.bias'])
    assert not any('aux_head' in key for key in converted['state_dict'])


def test_segmentor(tool, tmp_path, capsys, released):
    backbone = {key: value for key, value in released.items() if not key.startswith(('head.', 'norm.'))}
    segmentor = {f'backbone.{key}': value for key, value in backbone.items()}
    head = {f'linear_c{i}.proj.weight': torch.rand(8, c) for i, c in enumerate((128, 256, 16, 16), start=1)}
    head |= {f'linear_c{i}.proj.bias': torch.rand(8) for i in (1, 2, 3, 4)}
    head |= {'linear_fuse.conv.weight': torch.rand(8, 32, 1, 1), 'linear_fuse.bn.num_batches_tracked': torch.tensor(1)}
    head |= {f'linear_fuse.bn.{leaf}': torch.rand(8) for leaf in ('weight', 'bias', 'running_mean', 'running_var')}
    head |= {'linear_pred.weight': torch.rand(5, 8, 1, 1), 'linear_pred.bias': torch.rand(5)}
    head |= {'conv_seg.weight': torch.rand(5, 4, 1, 1), 'conv_seg.bias': torch.rand(5)}
    segmentor |= {f'decode_head.{key}': value for key, value in head.items()}
    converted = _convert(tool, tmp_path, {'meta': {'CLASSES': ('a',)}, 'state_dict': segmentor})
    assert 'segmentor' in capsys.readouterr().out
    assert torch.equal(converted['state_dict']['decode_head.conv_seg.weight'], head['linear_pred.weight'])


def _lacking(released):
    lacking = dict(released)
    del lacking['blocks.1.attn.kv.bias'], lacking['cls_token']
    return {'state_dict': lacking | {'blocks.0.surplus': torch.zeros(1)}}


@pytest.mark.parametrize(
    ('make', 'messages'),
    [
        (_lacking, ['blocks.1.attn.kv.bias', 'cls_token', 'blocks.0.surplus']),
        (lambda released: {'state_dict': {'conv1.weight': torch.zeros(1)}}, ['not a released FAN', 'conv1.weight']),
        (lambda released: {key: value for key, value in released.items() if 'head' not in key}, ['has no head']),
        (
            lambda released: {key: value for key, value in released.items() if not key.startswith('blocks.1.')},
            ['FAN Hybrid has 1 blocks with 16 channels', 'base_hybrid'],
        ),
    ],
)
def test_what_does_not_fit_is_named(tool, tmp_path, capsys, released, make, messages):
    with pytest.raises(SystemExit):
        _convert(tool, tmp_path, make(released))
    error = capsys.readouterr().err
    assert all(message in error for message in messages), error
    assert not list((tmp_path / 'out').glob('*')) if (tmp_path / 'out').exists() else True


def test_a_pickle_is_refused_and_not_run(tool, tmp_path, capsys):
    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / 'run',)

    (tmp_path / 'evil.pth').write_bytes(pickle.dumps({'state_dict': Payload()}))
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path / 'evil.pth'), str(tmp_path / 'out.pth')])
    assert not (tmp_path / 'run').exists() and not (tmp_path / 'out.pth').exists()
    assert 'evil.pth' in capsys.readouterr().err
