"""tools/analysis_tools/gpu_check.py: its budget, its report, and everything in tiny on a CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from performance.gpu_check.report import PartReport, Report
from performance.gpu_check.work import Part, Work
from tests.tool_loading import TOOLS

TOOL = TOOLS / 'analysis_tools/gpu_check.py'


def _well(work):
    work.note('it', {'value': work.index})


def _dies(work):
    work.note('before', {'value': 1})
    os.kill(os.getpid(), signal.SIGSEGV)


def _hangs(work):
    work.note('before', {'value': 2})
    time.sleep(600)


def _fails_in_a_step(work):
    work.note('a step', {'error': 'Traceback\nValueError: wrong'})


def test_parts_that_die_and_hang_take_nothing_else_with_them(tool, tmp_path):
    parts = [
        Part('dies', _dies, share=1, needs=0.1),
        Part('hangs', _hangs, share=1, needs=0.1),
        Part('fails', _fails_in_a_step, share=8, needs=0.1),
        Part('well', _well, share=8, needs=0.1, processes=99),
        Part('too long', _well, share=1, needs=1000),
    ]
    run = dict(started='now', command='gpu_check.py', minutes=1, dry_run=True)
    report = Report(tmp_path, run, {part.name: PartReport() for part in parts})
    started = time.monotonic()
    tool.check(
        report,
        [parts[:2], *([part] for part in parts[2:])],
        Work(tmp_path, tmp_path, tmp_path, tiny=True),
        started + 30,
    )
    assert time.monotonic() - started < 25
    content = json.loads((tmp_path / 'gpu_check.json').read_text())['parts']
    assert {name: part['state'] for name, part in content.items()} == {
        'dies': 'failed',
        'hangs': 'out of time',
        'fails': 'failed in parts',
        'well': 'done',
        'too long': 'skipped',
    }
    assert content['dies']['found'] == {'before': {'value': 1}}
    assert 'SIGSEGV' in content['dies']['reason']
    assert content['hangs']['found'] == {'before': {'value': 2}}
    assert 'time.sleep(600)' in content['hangs']['reason'] or 'in _hangs' in content['hangs']['reason']
    assert content['fails']['reason'] == 'a step:\nTraceback\nValueError: wrong'
    assert 'of the 1000 s that it takes at least' in content['too long']['reason']
    text = (tmp_path / 'gpu_check.md').read_text()
    assert '| too long | skipped |' in text
    assert '### hangs: out of time' in text


def test_a_killed_run_leaves_a_report(tmp_path):
    """What was found until then, of the part that was running too; and no process stays behind."""
    script = f"""
import sys, time
sys.path[:0] = {[str(TOOL.parents[2]), str(TOOL.parent)]!r}
from pathlib import Path
from tests.test_gpu_check import TOOL, Part, PartReport, Report, Work, _hangs, _well
from tests.tool_loading import load_tool
parts = [Part('well', _well, 1, 0.1), Part('hangs', _hangs, 99, 0.1)]
folder = Path({str(tmp_path)!r})
run = dict(started='now', command='gpu_check.py', minutes=1, dry_run=True)
report = Report(folder, run, {{part.name: PartReport() for part in parts}})
work = Work(folder, folder, folder, tiny=True)
load_tool(TOOL).check(report, [[part] for part in parts], work, time.monotonic() + 600)
"""
    process = subprocess.Popen([sys.executable, '-c', script])
    try:
        content = {}
        deadline = time.monotonic() + 240
        while not content.get('hangs', {}).get('found') and time.monotonic() < deadline:
            time.sleep(0.1)
            if (tmp_path / 'gpu_check.json').is_file():
                content = json.loads((tmp_path / 'gpu_check.json').read_text())['parts']
        left = [
            int(path.name) for path in Path('/proc').iterdir() if path.name.isdigit() and _parent(path) == process.pid
        ]
    finally:
        process.kill()
        process.wait()
    content = json.loads((tmp_path / 'gpu_check.json').read_text())['parts']
    assert (content['well']['state'], content['well']['found']) == ('done', {'it': {'value': 0}})
    assert (content['hangs']['state'], content['hangs']['found']) == ('running', {'before': {'value': 2}})
    assert len(left) == 1
    deadline = time.monotonic() + 10
    while _state(left[0]) not in ('', 'Z') and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _state(left[0]) in ('', 'Z')


def _parent(folder):
    try:
        return int((folder / 'stat').read_text().rpartition(')')[2].split()[1])
    except OSError:
        return None


def _state(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return ''


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['--minutes', '0'], '--minutes must be more than 0, got 0'),
        (['--parts', 'everything'], 'everything'),
        ([], 'there is no GPU that PyTorch can use here; --dry-run'),
    ],
)
def test_mistake_is_one_sentence(tool, arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit) as exit_:
        tool.main([*arguments, '--out', str(tmp_path)])
    assert exit_.value.code == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def _dry_run(tmp_path, *arguments):
    command = [sys.executable, str(TOOL), '--dry-run', '--out', 'report', *arguments]
    environment = os.environ | {'PYTHONPATH': str(TOOL.parents[2])}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    content = json.loads((tmp_path / 'report/gpu_check.json').read_text())
    assert done.returncode == 0, done.stdout + (tmp_path / 'report/gpu_check.md').read_text()
    assert all(part['state'] == 'done' for part in content['parts'].values())
    assert {path.name for path in tmp_path.iterdir()} == {'report'}  # all else was temporary
    return {name: part['found'] for name, part in content['parts'].items()}


def test_dry_run_of_the_fast_parts_in_another_folder(tmp_path):
    found = _dry_run(tmp_path, '--parts', 'environment', 'steps', 'evaluation')
    assert found['environment']['torch'] == torch.__version__
    assert found['steps']['batch 1, TAP + ADL']['seconds'] > 0
    assert all(0 < row['seconds_per_image'] < 5 for row in found['evaluation'].values())


@pytest.mark.slow
def test_dry_run(tmp_path):
    started = time.monotonic()
    found = _dry_run(tmp_path)
    assert time.monotonic() - started < 240
    assert all(row['held'] for part in ('equality', 'combinations') for row in found[part].values())
    assert {row['rows']['ours']['time_ratio'] > 0 for name, row in found['ops'].items()} == {True}
    assert found['compiled']['batch 1, TAP + ADL']['profile']['kernels']
    trained, resumed = found['minicity']['train --amp'], found['resuming']['after SIGTERM']
    assert trained['iterations'] == 6 and trained['seconds_per_iteration'] > 0
    assert resumed['held'] and 3 <= resumed['stopped after'] < 12
    assert found['minicity']['evaluate']['float32']['mPC'] > 0
    assert found['tests']['tests']['failed'] == 0
