"""What importing the tools' common part costs and says."""

import multiprocessing
import subprocess
import sys

import pytest

from mmrobust import cli


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
