"""The converter of released RVT weights, as a user runs it."""

import argparse

import pytest
import torch

from mmrobust.models import RVT
from mmrobust.models.backbones.rvt import ARCHS
from tests.test_models.test_backbones.released_rvt import TINY_RVT, as_released_rvt
from tests.tool_loading import load_tool

# 64 pixels: a grid of 4 x 4
OPTIONS = dict(arch=TINY_RVT, ffn_type='conv', tap_cfg=dict(num_branches=2), img_size=64)


@pytest.fixture(autouse=True)
def nano(monkeypatch):
    """An arch small enough for a test."""
    monkeypatch.setitem(ARCHS, 'nano_plus', TINY_RVT)


def _released(**options):
    backbone = RVT(**OPTIONS | options, out_type='avg_featmap')
    state_dict = as_released_rvt(backbone.state_dict(), TINY_RVT['depth'])
    return state_dict | {'head.weight': torch.rand(3, 32), 'head.bias': torch.rand(3)}


def _convert(tmp_path, checkpoint, *options, tool='rvt2mmrobust'):
    torch.save(checkpoint, tmp_path / 'released.pth')
    main = load_tool(f'model_converters/{tool}.py').main
    main([str(tmp_path / 'released.pth'), str(tmp_path / 'out/converted.pth'), *options])
    return torch.load(tmp_path / 'out/converted.pth', weights_only=True)


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_classifier(tmp_path, capsys, prefix):
    released = _released()
    state_dict = {prefix + key: value for key, value in released.items()}
    converted = _convert(tmp_path, {'model': state_dict, 'args': argparse.Namespace(lr=0.1)})
    assert converted['meta'] == OPTIONS | dict(arch='nano_plus')
    assert "classifier, arch='nano_plus', ffn_type='conv', tap_cfg={'num_branches': 2}" in capsys.readouterr().out
    assert torch.equal(converted['state_dict']['head.fc.bias'], released['head.bias'])
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'out/converted.pth'))
    RVT(**converted['meta'], out_indices=(2,), init_cfg=init_cfg).init_weights()


@pytest.mark.parametrize('options', [dict(ffn_type='linear'), dict(tap_cfg=None), dict(img_size=32)])
def test_options_are_found(tmp_path, options):
    expected = {key: value for key, value in (OPTIONS | options | dict(arch='nano_plus')).items() if value is not None}
    assert _convert(tmp_path, {'state_dict': _released(**options)})['meta'] == expected


@pytest.mark.parametrize('scaled_blocks', [0, 2])
def test_another_number_of_scaled_blocks(tmp_path, scaled_blocks):
    arch = TINY_RVT | dict(scaled_blocks=scaled_blocks)
    meta = _convert(tmp_path, _released(arch=arch))['meta']
    assert meta['arch'] == arch
    assert ('img_size' in meta) == bool(scaled_blocks)


def test_averaged_weights(tmp_path, capsys):
    released = _released()
    averaged = released | {'head.bias': torch.full((3,), 7.0)}
    converted = _convert(tmp_path, {'model': released, 'model_ema': averaged}, '--ema')
    assert (converted['state_dict']['head.fc.bias'] == 7).all()
    with pytest.raises(SystemExit):
        _convert(tmp_path, {'model': released}, '--ema')
    assert "holds no state_dict_ema or model_ema, only ['model']" in capsys.readouterr().err


def _lacking(released):
    lacking = dict(released)
    del lacking['transformers.0.blocks.1.mlp.fc1.bias'], lacking['norm.weight']
    return lacking | {'transformers.0.blocks.0.surplus': torch.zeros(1)}


@pytest.mark.parametrize(
    ('make', 'messages'),
    [
        (_lacking, ['backbone.blocks.1.mlp.fc1.bias', 'backbone.norm.weight', 'backbone.blocks.0.surplus']),
        (lambda released: {'conv1.weight': torch.zeros(1)}, ['not a released RVT', 'conv1.weight']),
        (lambda released: {key: value for key, value in released.items() if 'head' not in key}, ['has no head']),
        (
            lambda released: {key: value for key, value in released.items() if '.blocks.1.' not in key},
            ['RVT has 2 blocks with 16 and 32 channels', 'base_plus'],
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, capsys, make, messages):
    with pytest.raises(SystemExit):
        _convert(tmp_path, {'state_dict': make(_released())})
    error = capsys.readouterr().err
    assert all(message in error for message in messages), error
    assert not (tmp_path / 'out').exists()


def test_fan_converter_refuses_rvt(tmp_path, capsys):
    with pytest.raises(SystemExit):
        _convert(tmp_path, _released(), tool='fan2mmrobust')
    assert 'not a released FAN' in capsys.readouterr().err
