"""The Slurm scripts on a real Slurm of one node, this machine; it is started for the tests, and stopped."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.test_evaluate_robustness import (  # noqa: F401 (fixtures)
    LONG_CELLS,
    _arguments,
    _contents,
    _finished,
    files,
    whole_long,
)
from tests.test_tools import config  # noqa: F401 (a fixture)

ROOT = Path(__file__).resolve().parents[1]
DAEMONS = ('munged', 'slurmctld', 'slurmd')
PATH = f'{Path(sys.executable).parent}:{os.environ["PATH"]}:/usr/sbin'
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(shutil.which(name, path=PATH) for name in DAEMONS),
        reason='needs Slurm: apt-get install slurm-wlm munge',
    ),
]
NODE_FAILS = ['scontrol', 'update', 'nodename=localhost', 'state=down', 'reason=test']
NODE_RETURNS = ['scontrol', 'update', 'nodename=localhost', 'state=resume']


def _free_port():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return str(free.getsockname()[1])


@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
    """Runs a command in an environment with a Slurm of two CPUs and no GPU, with more variables if need be."""
    folder = tmp_path_factory.mktemp('slurm')
    environment = {**os.environ, 'PATH': PATH, 'SLURM_CONF': str(folder / 'slurm.conf'), 'GPUS': '0'}
    environment |= {'CPUS_PER_TASK': '1', 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(ROOT)}

    def run(*command, folder=ROOT, check=True, **variables):
        done = subprocess.run(
            [*map(str, command)], cwd=folder, env=environment | variables, capture_output=True, text=True
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    try:
        run(ROOT / 'tests/slurm/start_slurm.sh', folder, SLURM_PORT=_free_port())
        yield run
    finally:
        run(ROOT / 'tests/slurm/stop_slurm.sh', folder)


def _wait_until(reached):
    deadline = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < deadline, 'too long'
        time.sleep(0.1)


def _is_idle(slurm):
    return not slurm('squeue', '--noheader').stdout


@pytest.fixture
def submit(slurm, files, tmp_path):  # noqa: F811
    """Submits an array of three elements, and waits until the first has finished a cell of two; returns its number."""

    def submit():
        out = tmp_path / 'out'
        script = ['tools/slurm_evaluate.sh', 'cpu', 'fog', *_arguments(files, out, *LONG_CELLS)]
        said = slurm(*script, SHARDS='3', LOG_DIR=str(tmp_path / 'logs')).stdout
        assert said.startswith('Submitted batch job ')
        _wait_until((out / 'cells/clean.json').exists)
        return said.split()[-1]

    return submit


def test_killed_element_is_continued(slurm, submit, whole_long, tmp_path):  # noqa: F811
    job = submit()
    slurm('scancel', '--signal=KILL', '--full', f'{job}_0')
    _wait_until(lambda: _is_idle(slurm))
    assert not (tmp_path / 'out/results.json').exists()
    slurm('scontrol', 'requeue', f'{job}_0')
    _wait_until(lambda: _is_idle(slurm))
    assert _finished(tmp_path / 'out') == _contents(whole_long)
    assert {path.name for path in (tmp_path / 'logs').iterdir()} == {f'fog_{job}_{index}.log' for index in range(3)}
    log = (tmp_path / f'logs/fog_{job}_0.log').read_text()  # of both of its starts
    assert log.count('Loads checkpoint') == 2 and log.count('| clean | mPC | retention |') == 1


def test_elements_of_a_failed_node_are_requeued(slurm, submit, whole_long, tmp_path):  # noqa: F811
    submit()
    slurm(*NODE_FAILS)
    slurm(*NODE_RETURNS)
    assert not (tmp_path / 'out/results.json').exists() and not _is_idle(slurm)
    _wait_until(lambda: _is_idle(slurm))
    assert _finished(tmp_path / 'out') == _contents(whole_long)


def test_a_gpu_is_asked_for(slurm, files, tmp_path):  # noqa: F811
    """And this Slurm has none."""
    arguments = ['cpu', 'fog', *_arguments(files, tmp_path / 'out')]
    refused = slurm('tools/slurm_evaluate.sh', *arguments, check=False, GPUS='1', LOG_DIR=str(tmp_path))
    assert refused.returncode and 'Invalid generic resource (gres) specification' in refused.stderr
    refused = slurm('tools/slurm_train.sh', *arguments[:3], check=False, GPUS='2')
    assert refused.returncode and 'Invalid generic resource (gres) specification' in refused.stderr
    refused = slurm('tools/slurm_evaluate.sh', *arguments, check=False, GPUS='2')
    assert refused.returncode == 2 and refused.stderr.startswith('GPUS is of one element, 0 or 1, got 2')


def test_preempted_element_of_submitit_is_requeued(slurm, files, whole_long, tmp_path):  # noqa: F811
    pytest.importorskip('submitit')
    options = ['--shards', '2', '--gpus', '0', '--cpus', '1', '--log-dir', tmp_path / 'logs']
    options += ['--parameters', 'slurm_partition=cpu', '--', *_arguments(files, tmp_path / 'out', *LONG_CELLS)]
    said = slurm(sys.executable, 'tools/submit_evaluation.py', *options).stdout
    job = said.partition(':')[0]
    _wait_until((tmp_path / 'out/cells/clean.json').exists)
    slurm('scancel', '--signal=TERM', job)  # as Slurm does
    time.sleep(0.5)  # in which the element must not end
    slurm('scancel', '--signal=USR2', job)
    log = tmp_path / f'logs/{job}_0_log.out'
    _wait_until(lambda: 'Exiting gracefully after preemption' in log.read_text())
    assert not (tmp_path / 'out/results.json').exists()
    _wait_until(lambda: _is_idle(slurm))
    assert log.read_text().count('Job completed successfully') == 1
    assert _finished(tmp_path / 'out') == _contents(whole_long)


def test_two_tasks_train_and_test_over_gloo(slurm, config, tmp_path):  # noqa: F811
    """As two processes of torchrun do, bit by bit."""
    seeds = ['--cfg-options', 'randomness.seed=0', 'randomness.diff_rank_seed=True']  # otherwise both crop alike
    train = [config, '--no-validate', *seeds, '--work-dir']
    tasks = {'folder': tmp_path, 'TASKS': '2', 'MASTER_PORT': _free_port()}
    slurm(ROOT / 'tools/slurm_train.sh', 'cpu', 'train', *train, tmp_path / 'slurm', **tasks)
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    slurm(*torchrun, ROOT / 'tools/train.py', *train, tmp_path / 'torchrun', '--launcher', 'pytorch', folder=tmp_path)
    ours, theirs = (
        torch.load(tmp_path / name / 'iter_2.pth', weights_only=False)['state_dict'] for name in ('slurm', 'torchrun')
    )
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    test = [config, tmp_path / 'slurm/iter_2.pth', '--work-dir', tmp_path, '--out']
    slurm(ROOT / 'tools/slurm_test.sh', 'cpu', 'test', *test, tmp_path / 'two.json', **tasks)
    slurm(sys.executable, ROOT / 'tools/test.py', *test, tmp_path / 'one.json', folder=tmp_path)
    assert json.loads((tmp_path / 'two.json').read_text()) == json.loads((tmp_path / 'one.json').read_text())
