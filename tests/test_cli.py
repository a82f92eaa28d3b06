"""What importing the tools' common part costs and says."""

import argparse
import multiprocessing
import os
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from torch.utils.data import default_collate

from mmrobust import cli
from tests.tool_loading import load_tool

RUNS = load_tool('runs.py')


def test_models_are_imported_when_needed_and_quietly():
    code = 'from mmrobust import cli; import sys; assert not {"mmseg.models", "mmpretrain.models"} & {*sys.modules}'
    code += '; import mmseg.apis, mmpretrain.models, mmrobust.datasets'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')


def one_line(capsys, error: Exception, **kwargs) -> str:
    with pytest.raises(SystemExit) as stopped, cli.one_sentence(**kwargs):
        raise error
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_an_error_without_words_says_where(capsys):
    assert one_line(capsys, AssertionError()).endswith('test_cli.py: raise error\n')


def test_dead_loading_processes_are_one_sentence(capsys):
    line = one_line(capsys, RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. '), kinds=())
    assert 'has died (DataLoader worker (pid 7) is killed by signal: Killed): mostly memory was short' in line
    with pytest.raises(SystemExit), cli.one_sentence(kinds=()):  # raised in the middle of other people's code
        try:
            raise RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. ')
        except RuntimeError as error:
            raise SyntaxError('This file is wrong.') from error
    assert 'has died (DataLoader worker (pid 7) is killed by signal: Killed): mostly' in capsys.readouterr().err
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    with pytest.raises(SystemExit), cli.one_sentence(kinds=()):
        ours.recv()
    assert 'A process that loads images has died' in capsys.readouterr().err


def test_images_that_make_no_batch_are_one_sentence(capsys):
    with pytest.raises(SystemExit), cli.one_sentence(kinds=()):
        default_collate([torch.zeros(3, 4, 4), torch.zeros(3, 5, 4)])
    assert 'must be of one size, got several: take one image per batch' in capsys.readouterr().err


@pytest.mark.parametrize(
    'text', ['exited unexpectedly with exit code 156.', 'Bus error. ... are out of shared memory.']
)
def test_full_shared_memory_is_one_sentence(capsys, text):
    with pytest.raises(SystemExit), cli.one_sentence(kinds=()):
        try:
            raise RuntimeError(f'DataLoader worker (pid 7) {text}')
        except RuntimeError as error:  # what PyTorch makes of it
            raise RuntimeError('DataLoader worker (pid(s) 7) exited unexpectedly') from error
    (line,) = capsys.readouterr().err.splitlines()
    assert '/dev/shm is full: give the container more than ' in line and 'docker run --shm-size=8g' in line


def test_other_errors_keep_their_traceback():
    for error in (RuntimeError('no worker'), ConnectionResetError('of something else'), EOFError('of a file')):
        with pytest.raises(type(error)), cli.one_sentence(kinds=(ValueError,)):
            raise error


def test_a_full_disk_is_named(capsys):
    assert one_line(capsys, OSError(28, 'No space left'), writes_to='work').endswith('No space left, writing to work\n')
    assert 'writing' not in one_line(capsys, OSError(28, 'No space left', 'file'), writes_to='work')


def test_error_of_a_class_of_ours_in_a_worker(capsys):
    class OursError(ValueError):
        pass

    text = (
        'Caught OursError in DataLoader worker process 0.\nOriginal Traceback:\nmmrobust.some.OursError: The image.\n'
    )
    assert one_line(capsys, OursError(text)).endswith(': error: The image.\n')


@pytest.mark.parametrize(
    ('launcher', 'environment', 'expected'),
    [
        ('none', {'RANK': '1', 'SLURM_PROCID': '1'}, True),
        ('pytorch', {'RANK': '1', 'SLURM_PROCID': '0'}, False),
        ('slurm', {'SLURM_PROCID': '3'}, False),
        ('mpi', {'OMPI_COMM_WORLD_RANK': '0'}, True),
    ],
)
def test_first_process(monkeypatch, launcher, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert RUNS.is_first_process(launcher) is expected


def test_outputs_are_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').touch()
    (tmp_path / 'folder').mkdir()
    for path in ('x.json', 'file', 'folder/x', 'new/er/x.json', str(tmp_path / 'y'), '/dev/null'):
        assert cli.output_file(path) == path
    for path in ('.', 'folder', 'new/er', str(tmp_path)):
        assert cli.output_folder(path) == path
    assert sorted(path.name for path in tmp_path.iterdir()) == ['file', 'folder']
    for check, path in ((cli.output_file, 'file/x.json'), (cli.output_folder, 'file'), (cli.output_folder, 'file/x/y')):
        assert f"must lie in a folder, got '{path}': {tmp_path}/file is none." in refused(check, path, capsys)
    assert "must be a file, got the folder 'folder'." in refused(cli.output_file, 'folder', capsys)
    monkeypatch.setattr(cli.os, 'access', lambda path, mode: path != tmp_path)
    assert f"must lie where one can write, got 'new': {tmp_path} refuses" in refused(cli.output_folder, 'new', capsys)


def refused(check, path: str, capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        check(path)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ('name', 'argv'),
    [
        ('test.py', ['c', 'p', '--out', 'file/x.json']),
        ('test.py', ['c', 'p', '--out', 'file/x.pkl']),
        ('test.py', ['c', 'p', '--out', 'file/labels']),
        ('test.py', ['c', 'p', '--show-dir', 'file']),
        ('evaluate_robustness.py', ['c', 'p', '--out', 'file/out']),
        ('export_onnx.py', ['c', '--out', 'file/x.onnx']),
        ('image_demo.py', ['i', 'c', 'p', '--out-dir', 'file']),
        ('reproduce.py', ['--out', 'file/x']),
        ('dataset_converters/cityscapes_c.py', ['data', 'file/x']),
        ('dataset_converters/minicity.py', ['--preview', 'file/x.png']),
        ('misc/browse_dataset.py', ['c', '--output-dir', 'file/x']),
        ('model_converters/fan2mmrobust.py', ['src', 'file/x.pth']),
        ('model_converters/rvt2mmrobust.py', ['src', 'file/x.pth']),
        ('model_converters/to_hub.py', ['c', 'p', 'file/x']),
        ('analysis_tools/attention_statistics.py', ['--out', 'file/x']),
        ('analysis_tools/benchmark.py', ['--json', 'file/x']),
        ('analysis_tools/compare_robustness.py', ['r', '--out', 'file/x.html']),
        ('analysis_tools/gpu_check.py', ['--out', 'file/x']),
        ('analysis_tools/plot_sweep.py', ['--series', 'a', '1=r', '--out', 'file/x']),
        ('analysis_tools/visualize_attention.py', ['--out', 'file/x']),
        ('analysis_tools/visualize_segmentation.py', ['--out', 'file/x']),
    ],
)
def test_every_tool_checks_its_output_first(name, argv, tmp_path, monkeypatch, capsys):
    (tmp_path / 'file').touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', [name, *argv])
    with pytest.raises(SystemExit) as stopped:
        load_tool(name).main()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "must lie in a folder, got 'file" in line


@pytest.mark.parametrize('name', ['banana', 'cuda:99', 'meta', 'cpu:x', ''])
def test_a_device_that_is_not_here(name, capsys):
    assert 'the device must be cpu or a GPU (' in refused(cli.device, name, capsys)
    assert cli.device('cpu') == 'cpu'


@pytest.mark.parametrize('text', ['abc', '-1', '1.5', ''])
def test_an_environment_that_is_wrong(monkeypatch, text):
    monkeypatch.setenv('RANK', text)
    with pytest.raises(ValueError, match=f"variable RANK must be a whole number from 0 on, got '{text}'"):
        RUNS.is_first_process('pytorch')
    with pytest.raises(ValueError, match='variable RANK'):
        RUNS.set_run(Config(), argparse.Namespace(launcher='pytorch', local_rank=0, work_dir='x', config='x'))


def run_print_config(tmp_path, redirection: str, **environment) -> subprocess.CompletedProcess:
    (tmp_path / 'c.py').write_text("name = 'Ä'\n", encoding='utf-8')
    tool = load_tool('misc/print_config.py').__file__
    command = f'{sys.executable} {tool} {tmp_path}/c.py {redirection}'
    return subprocess.run(
        ['bash', '-c', command], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ('redirection', 'said'),
    [
        ('| true; exit ${PIPESTATUS[0]}', 'Nobody reads the output any more: send it to a file, or to a program that'),
        ('> /dev/full', '[Errno 28] No space left on device'),
    ],
)
def test_output_that_nobody_takes_is_one_sentence(tmp_path, redirection, said):
    result = run_print_config(tmp_path, redirection)
    (line,) = result.stderr.splitlines()
    assert result.returncode == 2 and line.startswith(f'print_config.py: error: {said}')


def test_a_closed_output_and_one_without_umlauts(tmp_path):
    closed = run_print_config(tmp_path, '>&-')
    assert (closed.returncode, closed.stderr) == (0, '')
    ascii_only = run_print_config(tmp_path, '', PYTHONIOENCODING='ascii')
    assert (ascii_only.returncode, ascii_only.stdout.strip()) == (0, r"name = '\xc4'")


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('data/Ä data mit Leerzeichen', 'data/Ä data mit Leerzeichen'),
        ('data/Kopie (2) von a', 'data/Kopie (2) von a'),
        ('"my data"', 'my data'),
        ('[a b, data/Kopie (2), 3, None]', ['a b', 'data/Kopie (2)', 3, None]),
        ('( [1, 2] , (x y , 0.5) )', ([1, 2], ('x y', 0.5))),
        ('512, 512', [512, 512]),
        (' 1e-3 ', 1e-3),
        ('True', True),
        ('[]', []),
    ],
)
def test_options_keep_spaces(text, value):
    parser = cli.argparse.ArgumentParser()
    cli.add_cfg_options(parser)
    assert parser.parse_args(['--cfg-options', f'a.b={text}']).cfg_options == {'a.b': value}


def test_option_of_unbalanced_brackets(capsys):
    parser = cli.argparse.ArgumentParser()
    cli.add_cfg_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'a=[1,(2]'])
    assert 'error: --cfg-options Imbalanced brackets exist in' in capsys.readouterr().err


CONFIG = dict(
    data_root='data',
    pipeline=[dict(type='Load'), dict(type='Crop')],
    model=dict(backbone=dict(type='FAN', drop=0.1), test_cfg=dict(mode='whole')),
    train_cfg=dict(max_iters=1),
    test_dataloader=dict(dataset=dict(type='Data', data_root='data', pipeline=[dict(type='Load')])),
)


@pytest.mark.parametrize(
    ('key', 'said'),
    [
        ('trian_cfg.max_iters', "there is no 'trian_cfg' in the config, but 'train_cfg'."),
        ('something.else', "there is no 'something' in the config, so check its spelling."),
        ('max_itres', "there is no 'max_itres' in the config, so check its spelling."),
        ('model.bakbone.drop', "there is no 'bakbone' in model, but 'backbone'."),
        ('model.test_cfg.modes', "there is no 'modes' in model.test_cfg, but 'mode'."),
        ('test_dataloader.dataset.pipeline.0.a.b', "there is no 'a' in test_dataloader.dataset.pipeline.0, so check"),
        ('data_root', 'it is a variable of the config file, used up when the file was read'),
        ('pipeline.0.size', 'it is a variable of the config file'),
    ],
)
def test_options_that_change_nothing_are_warned_of(key, said):
    with pytest.warns(UserWarning) as warned:
        cli.set_options(Config(CONFIG), {key: 2})
    assert str(warned[0].message).startswith(f'--cfg-options {key}: {said}')


def test_options_that_are_new_for_a_reason(recwarn):
    config = Config(CONFIG)
    new = {'model.backbone.init_cfg.type': 'Pretrained', 'model.backbone.init_cfg.checkpoint': 'x', 'resume': True}
    new |= {'model.backbone.with_cp': True, 'randomness.seed': 1, 'model.test_cfg.stride': 2, 'load_from': None}
    cli.set_options(config, {**new, 'test_dataloader.dataset.pipeline.0.a': 3, 'train_cfg.max_iters': 4})
    assert not recwarn.list and config.train_cfg.max_iters == 4 and config.model.backbone.init_cfg.checkpoint == 'x'
