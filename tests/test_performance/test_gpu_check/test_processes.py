"""Parts that end well, raise, die, hang and leave out steps: what they reported is there in every case."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from performance.gpu_check.processes import Job, run_under_limit
from performance.gpu_check.work import OutOfTimeError, Work


def _well(work):
    print('to the log')
    work.note('index', work.index)
    work.note('mine', work.mine([0, 1, 2, 3, 4]))


def _raises(work):
    work.note('before', 1.5)
    raise ValueError('this is wrong')


def _leaves(work):
    work.note('before', {'a': [1]})
    raise OutOfTimeError('no time was left for the rest')


def _segfault(work):
    work.note('before', 'it')
    os.kill(os.getpid(), signal.SIGSEGV)


def _killed(work):
    work.note('before', 'it')
    os.kill(os.getpid(), signal.SIGKILL)


def _exits(work):
    os._exit(3)


def _hangs(work):
    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
    work.note('child', child.pid)
    if work.index == 0:
        a_place_with_a_name()


def a_place_with_a_name():
    time.sleep(600)


@pytest.fixture
def run(tmp_path):
    def run(function, limit=60.0, count=1):
        found = []
        work = Work(Path(), tmp_path, tmp_path, tiny=True).shared_by(count, tmp_path, time.monotonic() + limit)
        log = tmp_path / 'part.log'
        job = Job(function, work, lambda *note: found.append(note), log)
        [(index, outcome)] = run_under_limit([job], limit)
        assert index == 0
        return outcome, found, log.read_text() if log.is_file() else ''

    return run


def test_shares_of_all_processes(run):
    outcome, found, log = run(_well, count=2)
    assert outcome == ('done', '')
    assert sorted(found, key=str) == [('index', 0), ('index', 1), ('mine', [0, 2, 4]), ('mine', [1, 3])]
    assert log == 'to the log\n'


@pytest.mark.parametrize(
    ('function', 'state', 'reason', 'found'),
    [
        (_raises, 'failed', 'ValueError: this is wrong', [('before', 1.5)]),
        (_leaves, 'out of time', 'no time was left for the rest', [('before', {'a': [1]})]),
        (_segfault, 'failed', 'ended by SIGSEGV', [('before', 'it')]),
        (_killed, 'failed', 'ended by SIGKILL', [('before', 'it')]),
        (_exits, 'failed', 'ended with code 3', []),
    ],
)
def test_what_goes_wrong(run, function, state, reason, found):
    outcome, notes, _ = run(function)
    assert outcome.state == state
    assert reason in outcome.reason
    assert notes == found


def test_a_segfault_shows_where_it_was(run):
    assert 'in _segfault' in run(_segfault)[0].reason


def test_what_hangs_is_ended_with_all_that_it_started(run):
    started = time.monotonic()
    outcome, notes, _ = run(_hangs, limit=3, count=2)
    assert time.monotonic() - started < 30
    assert outcome.state == 'out of time'
    assert 'ended after 3 s' in outcome.reason
    assert 'in a_place_with_a_name' in outcome.reason
    children = [pid for name, pid in notes if name == 'child']
    assert len(children) == 2
    deadline = time.monotonic() + 10  # the system takes a moment
    while any(map(_runs, children)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(pid):
    status = Path(f'/proc/{pid}/status')
    return status.is_file() and 'State:\tZ' not in status.read_text()


def test_a_full_disk_is_not_taken_for_a_dead_process(tmp_path):
    def on_note(name, value):
        raise OSError('no space')

    work = Work(Path(), tmp_path, tmp_path, tiny=True)
    with pytest.raises(OSError, match='no space'):
        list(run_under_limit([Job(_raises, work, on_note, tmp_path / 'log')], 60))


def _alone(work):
    with work.alone():
        work.note('in', time.monotonic())
        time.sleep(0.2)
        work.note('out', time.monotonic())


def _together(work):
    with work.beside_others():
        work.note('in', time.monotonic())
        while len(list(work.folder.glob('arrived.*'))) < work.count:
            (work.folder / f'arrived.{work.index}').touch()
            time.sleep(0.01)


def test_one_after_the_other(run):
    outcome, notes, _ = run(_alone, count=3)
    assert outcome.state == 'done'
    order = [name for name, _ in sorted(notes, key=lambda note: note[1])]
    assert order == ['in', 'out'] * 3


def test_beside_each_other(run):
    assert run(_together, limit=20, count=3)[0].state == 'done'


def test_jobs_beside_each_other(tmp_path):
    """Each is reported when it ends; one that hangs is ended with the time of all."""
    works = [Work(Path(), tmp_path, tmp_path, tiny=True).shared_by(count, tmp_path, 0) for count in (1, 2, 1)]
    found = [[], [], []]
    jobs = [
        Job(function, work, lambda *note, notes=notes: notes.append(note), tmp_path / f'{function.__name__}.log')
        for function, work, notes in zip((_hangs, _well, _raises), works, found, strict=True)
    ]
    outcomes = list(run_under_limit(jobs, 5))
    assert outcomes[-1][0] == 0
    assert {index: outcome.state for index, outcome in outcomes} == {0: 'out of time', 1: 'done', 2: 'failed'}
    assert [len(notes) for notes in found] == [1, 4, 1]
