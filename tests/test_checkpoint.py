"""Checkpoints are read without running them, and what is wrong with one is said in a sentence."""

import argparse
import os
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model.weight_init import PretrainedInit
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmrobust.checkpoint import (
    check_state_dict,
    compare_state_dicts,
    is_whole,
    load_checkpoint_file,
    register_safe_loader,
    weights_of,
)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    register_safe_loader()
    register_safe_loader()  # import mmrobust may have done it before


class Payload:
    """Unpickled by an unrestricted loader, it calls ``function(*arguments)``."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def malicious(folder, zipped: bool = True) -> tuple[str, str]:
    path, trace = str(folder / 'malicious.pth'), str(folder / 'trace')
    torch.save({'state_dict': Payload(os.mkdir, trace)}, path, _use_new_zipfile_serialization=zipped)
    return path, trace


def test_mmengine_checkpoints_are_read_whole(tmp_path):
    hub = MessageHub.get_instance('test_mmengine_checkpoints_are_read_whole')
    for value in (1.0, 3.0):
        hub.update_scalar('train/loss', value)
    hub.update_info('best_score', np.float64(0.5))
    hub.update_info('meta', {'palette': np.zeros((2, 3), np.uint8), 'names': np.array(['road'])})
    torch.save({'message_hub': hub.state_dict(), 'state_dict': {'w': torch.ones(2)}}, tmp_path / 'a.pth')

    hub = load_checkpoint_file(tmp_path / 'a.pth')['message_hub']

    assert hub['log_scalars']['train/loss'].statistics('mean') == 2
    assert hub['runtime_info']['best_score'] == 0.5
    assert hub['runtime_info']['meta']['names'].tolist() == ['road']


def test_timm_checkpoints_with_a_namespace_are_read(tmp_path):
    torch.save({'model': {}, 'args': argparse.Namespace(lr=0.1)}, tmp_path / 'a.pth')
    assert load_checkpoint_file(tmp_path / 'a.pth')['args'].lr == 0.1


@pytest.mark.parametrize('zipped', [True, False])
def test_pickled_calls_are_refused_and_not_run(tmp_path, zipped):
    path, trace = malicious(tmp_path, zipped)
    with pytest.raises(ValueError, match=r'malicious\.pth holds posix\.mkdir, .* not loaded'):
        load_checkpoint_file(path)
    assert not os.path.exists(trace)
    torch.load(path, weights_only=False)
    assert os.path.exists(trace), 'the payload would not have done anything'


@pytest.mark.parametrize(
    'payload', [Payload(getattr, argparse.Namespace, '__init__'), Payload(getattr, HistoryBuffer, '__init__')]
)
def test_allowed_names_are_no_way_around(tmp_path, payload):
    torch.save({'state_dict': payload}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'holds builtins\.getattr'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_missing_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"^There is no checkpoint '{tmp_path}/nowhere.pth': check"):
        load_checkpoint_file('nowhere.pth')


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('part', [0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_checkpoint(tmp_path, zipped, part):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'w': torch.ones(1000)}}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ValueError, match=r'a\.pth \(\d+ bytes\) is truncated or no PyTorch checkpoint'):
        load_checkpoint_file(path)


@pytest.mark.parametrize('content', [b'version https://git-lfs.github.com/spec/v1\n', b'<html>', bytes(range(256))])
def test_something_else_than_a_checkpoint(tmp_path, content):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='is truncated or no PyTorch checkpoint'):
        load_checkpoint_file(path)


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
def test_a_whole_file_is_not_called_truncated(tmp_path):
    torch.save({'w': torch.ones(1)}, tmp_path / 'a.pth')
    with pytest.raises(RuntimeError, match='CUDA'):
        load_checkpoint_file(tmp_path / 'a.pth', map_location='cuda')


def test_mmengine_uses_the_safe_loader(tmp_path, registered):
    path, trace = malicious(tmp_path)
    with pytest.raises(ValueError, match=r'posix\.mkdir'):
        CheckpointLoader.load_checkpoint(path, map_location='cpu')
    torch.save({'w': torch.ones(1)}, tmp_path / 'good.pth')
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'good.pth'))['w'] == 1
    assert not os.path.exists(trace)


@pytest.mark.parametrize('address', ['https://host/malicious.pth', 'torchvision://evil'])
def test_downloads_are_not_run_either(tmp_path, monkeypatch, registered, address):
    path, trace = malicious(tmp_path)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', lambda url, target, **_: os.link(path, target))
    monkeypatch.setattr(
        'mmengine.runner.checkpoint.get_torchvision_models', lambda: {'evil': 'https://host/malicious.pth'}
    )
    with pytest.raises(ValueError, match=r'hub/checkpoints/malicious\.pth holds posix\.mkdir'):
        CheckpointLoader.load_checkpoint(address)
    assert not os.path.exists(trace)


def test_subprocess_cannot_be_smuggled_in(tmp_path):
    torch.save(Payload(subprocess.check_call, ['touch', str(tmp_path / 'trace')]), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='check_call'):
        load_checkpoint_file(tmp_path / 'a.pth')
    assert not (tmp_path / 'trace').exists()


def test_fitting_weights_have_no_difference():
    model = nn.Linear(2, 3)
    assert compare_state_dicts(model.state_dict(), model.state_dict()) == ''
    check_state_dict(model.state_dict(), model.state_dict())


def test_every_difference_is_named():
    expected = {'a': torch.ones(2), 'b': torch.ones(3), 'c': torch.ones(())}
    got = {'b': torch.ones(4), 'c': torch.ones(()), 'd': torch.ones(1)}
    with pytest.raises(ValueError, match=r'^x\.pth does not fit the model, keys 1 missing, 1 unexpected') as info:
        check_state_dict(expected, got, 'x.pth')
    assert str(info.value).splitlines()[1:] == [
        '  missing: a (2,)',
        '  unexpected: d',
        '  of another shape: b (4,) instead of (3,)',
    ]


def test_a_count_of_batches_may_be_missing():
    expected = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).state_dict()
    got = {key: value for key, value in expected.items() if key != '1.num_batches_tracked'}
    assert compare_state_dicts(expected, got) == ''
    del got['1.running_mean']
    assert compare_state_dicts(expected, got).startswith('keys 2 missing')


def test_a_message_is_bounded_and_escaped():
    got = {f'\x1b[31m{index}{"x" * 1000}': torch.ones(1) for index in range(3000)}
    with pytest.raises(ValueError, match='3000 unexpected') as info:
        check_state_dict({}, got)
    lines = str(info.value).splitlines()
    assert '\x1b' not in str(info.value) and len(lines) == 22 and len(str(info.value)) < 4000
    assert lines[-1] == '  unexpected: 2980 more'


def _rezipped(path, change, compression=zipfile.ZIP_STORED):
    """A checkpoint with other content under right checksums; None leaves an entry out."""
    torch.save({'state_dict': {'w': torch.ones(4)}}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: change(name.partition('/')[2], archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, content in entries.items():
            if content is not None:
                archive.writestr(name, content)


@pytest.mark.parametrize(
    'change',
    [
        lambda name, content: b'' if name == 'data/0' else content,
        lambda name, content: None if name == 'data/0' else content,
        lambda name, content: None if name == 'version' else content,
        lambda name, content: b'99999' if name == 'version' else content,
        lambda name, content: b'x' if name == 'data.pkl' else content,
        lambda name, content: None,
    ],
    ids=['empty record', 'no record', 'no version', 'other version', 'no pickle', 'nothing'],
)
def test_a_whole_zip_of_wrong_content(tmp_path, change):
    _rezipped(tmp_path / 'a.pth', change)
    with pytest.raises(ValueError, match=r'a\.pth \(\d+ bytes\) is truncated or no PyTorch checkpoint') as info:
        load_checkpoint_file(tmp_path / 'a.pth')
    assert len(str(info.value)) < 500 and '\n' not in str(info.value)


def test_a_torchscript_archive(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(tmp_path / 'a.pth'))
    with pytest.raises(ValueError, match=r'is truncated or no PyTorch checkpoint .*TorchScript'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / 'a.pth'
    _rezipped(
        path, lambda name, content: bytes(2**24) if name == 'data/0' else content, compression=zipfile.ZIP_DEFLATED
    )
    assert path.stat().st_size < 2**16
    with pytest.raises(ValueError, match=r'a\.pth must hold what torch\.save wrote, .* bytes that unpacks to 1677'):
        load_checkpoint_file(path)
    assert not is_whole(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'meta': [1], 'state_dict': {}}, r'meta in the checkpoint \S+ must be a dict, got a list'),
        ({'state_dict': None}, r'weights in \S+ must be a dict of tensors, got a NoneType'),
        ({'state_dict': {1: torch.ones(1)}}, r'must be dense tensors by name, got torch\.strided on cpu by int 1'),
        ({'state_dict': {'a': {'b': torch.ones(1)}}}, 'must be dense tensors by name, got dict by str a'),
        ({'state_dict': {'a': torch.eye(2).to_sparse()}}, 'got torch.sparse_coo on cpu by str a'),
        ({'state_dict': {'a': torch.ones(2, device='meta')}}, 'got torch.strided on meta by str a'),
        ({'state_dict': {'\x1b[2J' + 'x' * 10**5: 1}}, r'by str \\x1b\[2Jx{100,120}\.\.\.$'),
        ({'model': 'resnet50'}, 'must be a dict of tensors, got a str'),
        ({'epoch': 3, 'net': {'w': torch.ones(1)}}, 'must be dense tensors by name, got int by str epoch'),
    ],
)
def test_odd_dicts(tmp_path, content, message):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=message):
        weights_of(load_checkpoint_file(tmp_path / 'a.pth'), 'a.pth')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_named(tmp_path, value):
    weights = {f'{index}.weight': torch.ones(1, 1) for index in range(5)}
    weights |= {f'{index}.bias': torch.tensor([value]) for index in range(5)}
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(5)))
    message = r'must hold finite weights, got NaN or infinity in 0\.bias, 1\.bias, 2\.bias and 2 more'
    with pytest.raises(ValueError, match=rf'^x\.pth {message}'):
        check_state_dict(model.state_dict(), weights, 'x.pth')
    torch.save(weights, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=message):
        load_checkpoint(model, str(tmp_path / 'a.pth'))
    assert not (model[0].weight == 1).all()


def test_a_mask_of_the_model_may_be_infinite():
    mask = {'mask': torch.tensor([0, -torch.inf])}
    check_state_dict(mask, mask)


def test_a_checkpoint_that_is_no_dict(tmp_path):
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='must hold a dict of weights, but holds a list'):
        load_checkpoint_file(tmp_path / 'list.pth')


def test_a_model_that_takes_nothing_of_its_weights_is_not_left_random(tmp_path):
    """MMEngine's own loading: init_cfg of a backbone, and load_checkpoint as init_model and inferencers call it."""
    torch.save({'blocks.0.attn.qkv.weight': torch.zeros(3)}, tmp_path / 'vit.pth')
    model = Block()
    for load in (
        lambda: load_checkpoint(model, str(tmp_path / 'vit.pth')),
        lambda: PretrainedInit(str(tmp_path / 'vit.pth'))(model),
    ):
        with pytest.raises(ValueError, match=r'Block must fit some of its keys \(conv.weight.*got others \(blocks\.0'):
            load()
    torch.save({'conv.weight': torch.zeros(1, 1, 1, 1)}, tmp_path / 'part.pth')
    with pytest.raises(ValueError, match=r'does not fit the model, keys 1 missing, (.|\n)* say strict=False'):
        load_checkpoint(model, str(tmp_path / 'part.pth'))
    load_checkpoint(model, str(tmp_path / 'part.pth'), strict=False)
    assert model.conv.weight == 0
    model.register_load_state_dict_pre_hook(_without_prefix)
    torch.save({'other.conv.bias': torch.ones(1)}, tmp_path / 'renamed.pth')
    load_checkpoint(model, str(tmp_path / 'renamed.pth'), strict=False)
    assert model.conv.bias == 1
    load_checkpoint(torch.nn.Flatten(), str(tmp_path / 'vit.pth'))  # nothing to load


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 1)


def _without_prefix(module, state_dict, *args):
    for key in list(state_dict):
        state_dict[key.removeprefix('other.')] = state_dict.pop(key)


def test_a_hole_in_the_weights_is_found(tmp_path):
    """torch.load reads the zeros as weights."""
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'weight': torch.ones(4096)}}, path)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(4096) + content[middle + 4096 :])
    assert (torch.load(path, weights_only=True)['state_dict']['weight'] == 0).any()
    with pytest.raises(ValueError, match=r'a\.pth is damaged: not everything in it has the checksum noted there'):
        load_checkpoint_file(path)


def test_the_config_of_a_checkpoint_is_not_run(tmp_path):
    """MMEngine's runner gives meta['config'] to Config.fromstring, which runs Python."""
    torch.save({'meta': {'config': 'raise SystemExit', 'iter': 4}, 'state_dict': {}}, tmp_path / 'a.pth')
    assert load_checkpoint_file(tmp_path / 'a.pth')['meta'] == {'iter': 4}
