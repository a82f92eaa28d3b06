"""A run of two ranks of which one dies: tools/train.py starts again and resumes, or says so and ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.distributed import DistNetworkError

from mmrobust import cli
from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from tests.test_main_job import CONFIG, MAX_ITERS

REPO = Path(__file__).parents[2]
LAST = f'iter_{MAX_ITERS}.pth'
SENTENCE = (
    r'^train.py: error: Another process of this run has died or does not answer \((.*)\): its own output says why\.$'
)
PATIENCE = 300  # seconds, for a process that should have ended long before
ENVIRONMENT = os.environ | {
    'PATH': os.pathsep.join((str(Path(sys.executable).parent), os.environ['PATH'])),
    'PYTHONPATH': str(REPO),
    'CUDA_VISIBLE_DEVICES': '',
    'OMP_NUM_THREADS': '1',
}


@pytest.fixture(scope='module')
def data_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'minicity'
    write_minicity(root, MiniCityParams(num_train=4, num_val=2, num_acdc=0, size=(64, 32)))
    return root


def write_config(folder: Path, data_root: Path, name: str | None = None) -> str:
    """A config of six iterations; with the name of a signal, rank 1 gets it before the fourth one, once."""
    text = CONFIG.replace('DATA', str(data_root))
    if name:
        text += "custom_imports = dict(imports=['mmrobust', 'tests.test_distributed.die_once'])\n"
        text += f"default_hooks['die'] = dict(type='DieOnce', at=4, marker='{folder}/died', name='{name}')\n"
    path = folder / 'tiny.py'
    path.write_text(text)
    return str(path)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def dist_train(*options: str, machines: int = 1, **environment: str) -> tuple[int, str]:
    """Two ranks on one machine, or one on each of two: the highest exit code, and all output."""
    config, *others = options
    environment = ENVIRONMENT | {'PORT': free_port(), 'NNODES': str(machines)} | environment
    started = [
        subprocess.Popen(
            ['bash', str(REPO / 'tools/dist_train.sh'), config, str(2 // machines), *others],
            cwd=REPO,
            env=environment | {'NODE_RANK': str(machine)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for machine in range(machines)
    ]
    output = ''.join(process.communicate(timeout=PATIENCE)[0] for process in started)
    return max(process.returncode for process in started), output


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory, data_root) -> dict[str, torch.Tensor]:
    """The weights of a run of two ranks."""
    folder = tmp_path_factory.mktemp('undisturbed')
    code, output = dist_train(write_config(folder, data_root), '--work-dir', str(folder))
    assert code == 0, output[-3000:]
    return torch.load(folder / LAST, weights_only=False)['state_dict']


@pytest.mark.slow
@pytest.mark.parametrize('machines', [1, 2])
def test_restarted_run_ends_with_the_weights_of_the_undisturbed_one(tmp_path, data_root, undisturbed, machines):
    options = (write_config(tmp_path, data_root, 'SIGKILL'), '--work-dir', str(tmp_path), '--resume')
    code, output = dist_train(*options, machines=machines, MAX_RESTARTS='3')
    assert code == 0, output[-3000:]
    assert (tmp_path / 'died').exists() and '(exitcode: -9)' in output
    assert output.count('resumed epoch: 0, iter: 2') == 1 and 'connectFullMesh failed' not in output
    weights = torch.load(tmp_path / LAST, weights_only=False)['state_dict']
    assert all(torch.equal(weights[name], undisturbed[name]) for name in undisturbed)


@pytest.mark.slow
def test_without_a_restart_torchrun_ends_all(tmp_path, data_root):
    code, output = dist_train(write_config(tmp_path, data_root, 'SIGKILL'), '--work-dir', str(tmp_path / 'work'))
    assert code == 1
    assert re.search(SENTENCE, output, re.MULTILINE), output[-3000:]
    assert not (tmp_path / 'work' / LAST).exists()


@pytest.mark.slow
@pytest.mark.parametrize('name', ['SIGKILL', 'SIGSTOP'])
def test_without_torchrun_the_other_rank_ends_by_itself(tmp_path, data_root, name):
    """Started as Slurm starts them; a rank that is frozen and not dead is given up after ``dist_cfg.timeout``."""
    command = [sys.executable, 'tools/train.py', write_config(tmp_path, data_root, name), '--launcher', 'pytorch']
    command += ['--work-dir', str(tmp_path / 'work'), '--cfg-options', 'env_cfg.dist_cfg.timeout=10']
    port = free_port()
    ranks = []
    for rank in ('0', '1'):
        address = {'RANK': rank, 'LOCAL_RANK': rank, 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port}
        with open(tmp_path / f'rank{rank}', 'w') as output:
            ranks.append(subprocess.Popen(command, cwd=REPO, env=ENVIRONMENT | address, stdout=output, stderr=output))
    try:
        code = ranks[0].wait(timeout=PATIENCE)
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    output = (tmp_path / 'rank0').read_text()
    assert code == 2 and ranks[1].returncode == -signal.SIGKILL, output[-3000:]
    reason = re.search(SENTENCE, output, re.MULTILINE)
    assert reason and 'Traceback' not in output, output[-3000:]
    assert ('Timed out waiting 10000ms' in reason[1]) == (name == 'SIGSTOP')


def test_restarts_need_resume():
    sentence = 'MAX_RESTARTS=1 needs the option --resume: without it a restarted run begins again\n'
    assert dist_train('config.py', MAX_RESTARTS='1') == (2, sentence)


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (RuntimeError('[/gloo/pair.cc:5] Read error [::1]:7: reset. A long hint.'), 'Read error [::1]:7: reset'),
        (DistNetworkError('The client socket has timed out\nframe #0: c10'), 'The client socket has timed out'),
    ],
)
def test_lost_rank_is_one_sentence(capsys, monkeypatch, error, reason):
    monkeypatch.setattr(sys, 'argv', ['tools/train.py'])
    with pytest.raises(SystemExit), cli.one_sentence((ValueError,)):
        raise error
    assert re.search(SENTENCE, capsys.readouterr().err)[1] == reason


def test_other_errors_of_torch_are_none():
    with pytest.raises(RuntimeError, match='shapes'), cli.one_sentence((ValueError,)):
        raise RuntimeError('mat1 and mat2 shapes cannot be multiplied')
