"""A run that is killed and resumed is the undisturbed run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.runner import find_latest_checkpoint
from tiny_run import Record, make_runner


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory) -> dict[int, float]:
    record = Record()
    make_runner(tmp_path_factory.mktemp('undisturbed'), record).train()
    assert len(set(record.losses.values())) == 10
    return record.losses


@pytest.mark.parametrize('num_workers', [0, 2])
def test_killed_while_saving_and_resumed_is_bit_equal(tmp_path, undisturbed, num_workers):
    script = Path(__file__).with_name('tiny_run.py')
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
    with open(tmp_path / 'output', 'wb') as output:  # a pipe would stay open as long as the orphaned workers
        killed = subprocess.run(
            [sys.executable, str(script), str(tmp_path), str(num_workers)],
            stdout=output,
            stderr=output,
            env=environment,
        )
    assert killed.returncode == -signal.SIGKILL, (tmp_path / 'output').read_text()
    assert Path(find_latest_checkpoint(str(tmp_path))).name == 'iter_4.pth'
    assert (tmp_path / 'iter_8.pth.tmp').exists() and not (tmp_path / 'iter_8.pth').exists()

    record = Record()
    runner = make_runner(tmp_path, record, num_workers=num_workers, resume=True)
    runner.train()
    runner.train_loop.dataloader_iterator._iterator = None  # the garbage collector would wait 5 s for each worker

    assert record.losses == {iteration: undisturbed[iteration] for iteration in range(4, 10)}
    assert not list(tmp_path.glob('*.tmp'))


def test_resume_takes_over_a_seed_that_was_drawn(tmp_path):
    whole, resumed = Record(), Record()
    keep_all = {'max_keep_ckpts': -1}
    make_runner(tmp_path, whole, randomness={'seed': None}, checkpoint=keep_all).train()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_8.pth'))
    make_runner(tmp_path, resumed, randomness={'seed': None}, checkpoint=keep_all, resume=True).train()
    assert resumed.losses == {iteration: whole.losses[iteration] for iteration in (8, 9)}


def test_without_the_seeded_iterations_the_resumed_run_differs(tmp_path, undisturbed):
    """The test above would notice: dropout alone makes a difference."""
    make_runner(tmp_path, iters=4).train()
    record = Record()
    runner = make_runner(tmp_path, record, resume=True)
    runner._hooks = [hook for hook in runner.hooks if type(hook).__name__ != 'SeedIterationHook']
    runner.train()
    assert record.losses[4] != undisturbed[4]
