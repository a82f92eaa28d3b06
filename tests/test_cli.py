"""What importing the tools' common part costs and says."""

import multiprocessing
import subprocess
import sys

import pytest
import torch
from torch.utils.data import default_collate

from mmrobust import cli
from tests.tool_loading import load_tool


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
    assert cli.is_first_process(launcher) is expected


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
