"""tools/submit_evaluation.py on this machine; tests/test_slurm.py has it on Slurm."""

import builtins
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.test_evaluate_robustness import _arguments, _contents, files, whole  # noqa: F401 (fixtures)
from tests.tool_loading import TOOLS, load_tool

ROOT = Path(__file__).resolve().parents[1]
TOOL = TOOLS / 'submit_evaluation.py'


def test_submitit_is_missing(monkeypatch, capsys):
    imported = builtins.__import__

    def without_submitit(name, *rest):
        if name == 'submitit':
            raise ModuleNotFoundError(f'No module named {name!r}')
        return imported(name, *rest)

    monkeypatch.setattr(builtins, '__import__', without_submitit)
    with pytest.raises(SystemExit) as stopped:
        load_tool(TOOL)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.strip().endswith('needs submitit: pip install submitit')


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--shards', '0'], '--shards must be 1 or more, got 0'),
        (['--shards', '2', '--cluster', 'local', '--parameters', 'slurm_colour=red'], 'slurm_colour'),
        (['--shards', '2'], 'Could not detect "srun"'),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, capsys, monkeypatch, options, sentence):
    pytest.importorskip('submitit')
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        load_tool(TOOL).main([*options, '--log-dir', str(tmp_path / 'logs'), '--', 'CONFIG'])
    assert stopped.value.code == 2 and sentence in capsys.readouterr().err


def test_a_shard_leaves_the_warnings_of_slurm_to_submitit(tmp_path, monkeypatch):
    """A cluster sends them to every process of a job; the evaluation has a handler for SIGTERM, which ends it."""
    pytest.importorskip('submitit')
    tool = load_tool(TOOL)
    warned = 'import os, signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n'
    warned += 'for number in (signal.SIGTERM, signal.SIGUSR2): os.kill(os.getpid(), number)\n'
    (tmp_path / 'warned.py').write_text(f"{warned}sys.exit(sys.argv[1:] != ['CONFIG', '--shard', '1/3'])")
    monkeypatch.setattr(tool, 'TOOL', tmp_path / 'warned.py')
    tool.Evaluation(['CONFIG'], 3)(1)
    with pytest.raises(subprocess.CalledProcessError):
        tool.Evaluation(['CONFIG'], 4)(1)


@pytest.mark.slow
def test_jobs_on_this_machine_give_what_one_process_gives(files, whole, tmp_path):  # noqa: F811
    pytest.importorskip('submitit')
    options = ['--shards', '2', '--cluster', 'local', '--gpus', '0', '--log-dir', str(tmp_path / 'logs')]
    command = [sys.executable, str(TOOL), *options, '--', *_arguments(files, tmp_path / 'out')]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    logs = [Path(line.partition(': ')[2]) for line in done.stdout.splitlines()]
    assert len(logs) == 2
    deadline = time.monotonic() + 120
    while not all(log.exists() and 'Exiting after successful completion' in log.read_text() for log in logs):
        assert time.monotonic() < deadline, [log.read_text() for log in logs if log.exists()]
        time.sleep(0.2)
    assert sum('left to other processes' in log.read_text() for log in logs) == 1
    assert _contents(tmp_path / 'out') == _contents(whole)
