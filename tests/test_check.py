"""What ``python -m mmrobust.check`` says."""

import subprocess
import sys
from collections import namedtuple

import pytest
import torch

from mmrobust.check import describe, inventory
from mmrobust.check.__main__ import main
from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from mmrobust.models import FAN, RVT, Swin
from mmrobust.models.backbones.fan import ARCHS
from tests.test_models.test_backbones.released import as_released


def _saved(folder, content) -> str:
    torch.save(content, folder / 'weights.pth')
    return str(folder / 'weights.pth')


def _printed(capsys, *argv) -> dict[str, str]:
    main(list(argv))
    return {line[:15].strip(): line[16:] for line in capsys.readouterr().out.splitlines()}


@pytest.fixture
def released(monkeypatch, tiny_hybrid) -> dict[str, torch.Tensor]:
    """A TAP-FAN as it is released, of an arch small enough for a test."""
    monkeypatch.setitem(ARCHS, 'nano_hybrid', tiny_hybrid)
    weights = as_released(FAN('nano_hybrid', dict(num_branches=2), out_type='cls_token').state_dict())
    return weights | {'head.weight': torch.rand(3, 16), 'head.bias': torch.rand(3)}


def test_a_released_fan(tmp_path, capsys, released):
    released = {f'module.{key}': value for key, value in released.items()}
    content = {'state_dict': released, 'state_dict_ema': released, 'optimizer': {}, 'epoch': 299}
    found = _printed(capsys, _saved(tmp_path, content))
    assert found['weights of'] == "TAPADL FAN classifier, arch='nano_hybrid', tap_cfg={'num_branches': 2}"
    assert found['classes'] == '3'
    assert (
        found['taken from'] == 'state_dict; averaged ones (EMA) are there too, under state_dict_ema, and are not taken'
    )
    assert found['training'] == 'optimizer, epoch 299'
    assert found['use'].endswith('configs/fan_tap_imagenet.py with model.backbone.arch=nano_hybrid')


def test_a_checkpoint_of_this_project(tmp_path, capsys, tiny_hybrid):
    model = FAN(tiny_hybrid)
    weights = {f'backbone.{key}': value for key, value in model.state_dict().items()}
    weights['decode_head.conv_seg.weight'] = torch.rand(19, 8, 1, 1).half()
    meta = dict(
        iter=350,
        experiment_name='fan_minicity_20261126_101010',
        dataset_meta=dict(classes=[f'c{i}' for i in range(19)]),
    )
    path = _saved(tmp_path, {'meta': meta, 'state_dict': weights, 'ema_state_dict': weights})
    found = describe(path)
    assert tuple(found.origin) == ('mmrobust', 'FAN', 'segmentor')
    assert (found.classes, found.dtypes, found.optimizer) == (19, ('float16', 'float32'), False)
    assert found.parameters == sum(value.numel() for value in model.parameters()) + 19 * 8
    assert 'FAN Hybrid has 2 blocks with 16 channels' in found.network  # no published arch
    printed = _printed(capsys, path)
    assert printed['use'] == 'tools/test.py CONFIG FILE, where CONFIG was fan_minicity'
    assert printed['classes'] == '19: c0, c1, c2, ...'
    assert printed['taken from'] == 'state_dict; they are averaged (EMA), as they were tested'
    assert printed['training'] == 'iter 350'


@pytest.mark.parametrize('name', ['vit_tiny_patch16_224', 'deit_tiny_distilled_patch16_224'])
def test_a_network_of_timm_is_named(tmp_path, name):
    timm = pytest.importorskip('timm')
    found = describe(_saved(tmp_path, timm.create_model(name, num_classes=7).state_dict()))
    assert found.options == dict(model_name=name) and found.classes == 7
    assert found.use.startswith(f'tools/test.py timm:{name} FILE --cfg-options model.num_classes=7; configs/timm_vit')


def test_other_networks(tmp_path):
    timm = pytest.importorskip('timm')
    network = timm.create_model('test_resnet')
    found = describe(_saved(tmp_path, {'state_dict': network.state_dict(), 'arch': 'test_resnet'}))
    assert (found.origin.kind, found.use) == ('timm', 'tools/test.py timm:test_resnet FILE')
    assert describe(_saved(tmp_path, network.state_dict())).origin.kind == 'unknown'
    with torch.device('meta'):
        swin, rvt = Swin('tiny').state_dict(), RVT('tiny_plus', img_size=64).state_dict()
    for weights, options in (
        (swin, dict(arch='tiny')),
        (rvt, dict(arch='tiny_plus', ffn_type='conv', img_size=64)),
    ):
        path = _saved(tmp_path, {key: torch.zeros(value.shape) for key, value in weights.items()})
        assert describe(path).options == options


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        (lambda path: None, 'There is no checkpoint'),
        (lambda path: path.write_bytes(b'<html>'), 'is truncated or no PyTorch checkpoint'),
        (lambda path: torch.save({'state_dict': {}}, path), 'must hold weights, got none'),
    ],
)
def test_a_file_that_is_none_is_one_sentence(tmp_path, capsys, write, message):
    write(tmp_path / 'a.pth')
    with pytest.raises(SystemExit) as exit_:
        main([str(tmp_path / 'a.pth')])
    assert exit_.value.code == 2 and message in capsys.readouterr().err


def test_the_machine_and_the_data(tmp_path, capsys, monkeypatch):
    write_minicity(tmp_path / 'minicity', MiniCityParams(num_train=2, num_val=1, num_acdc=0, size=(64, 32)))
    monkeypatch.setattr(inventory, 'tested_versions', lambda: {'torch': '0.1', 'numpy': '0.2'})
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(inventory.shutil, 'disk_usage', lambda path: usage(2**26, 0, 0))
    found = _printed(capsys, '--data-root', str(tmp_path))
    assert f'torch {torch.__version__.partition("+")[0]} (tested 0.1)' in found['packages']
    assert found['tested'] == 'other versions of torch, numpy'
    assert found['minicity'] == 'train 2 of 2, val 1 of 1'
    assert (
        found['shared memory'].startswith('0.0625 GiB in /dev/shm: little') and '--shm-size' in found['shared memory']
    )
    assert found['not there'].startswith('cityscapes, acdc, imagenet, ')
    next((tmp_path / 'minicity').rglob('*_labelTrainIds.png')).unlink()
    with pytest.raises(SystemExit) as exit_:
        main(['--data-root', str(tmp_path)])
    printed = capsys.readouterr()
    assert exit_.value.code == 2 and 'NOT WHOLE' in printed.out
    assert 'have no label' in printed.err and 'cityscapes.py' in printed.err  # the remedy


def test_tested_versions_are_those_of_the_constraints():
    assert {'torch', 'timm', 'onedl-mmcv'} <= inventory.tested_versions().keys()


def test_an_installation_that_cannot_work_is_one_sentence():
    """import mmrobust raises; the command that is asked about it says so without a traceback."""
    lines = (
        'import importlib.metadata as m, runpy, sys',
        'def version(name): raise m.PackageNotFoundError',
        'm.version = version',
        "sys.orig_argv = ['python', '-m', 'mmrobust.check']",
        "runpy.run_module('mmrobust.check', run_name='__main__')",
    )
    code = '\n'.join(lines)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith('mmrobust.check: error: mmrobust needs MMEngine') and 'pip install' in done.stderr
