"""One run at a time in a folder."""

import errno
import fcntl
import multiprocessing
import os
import signal
import socket

import pytest

from mmrobust.engine.work_dir_lock import lock_work_dir

CONTEXT = multiprocessing.get_context('fork')


def _hold(folder, ready, with_child: bool) -> None:
    with lock_work_dir(folder):
        ready.put(os.fork() if with_child else 0)  # both go on from here
        signal.pause()


@pytest.mark.parametrize('with_child', [False, True])
def test_another_process_is_named_and_its_death_frees_the_folder(tmp_path, with_child):
    """Also while a process that it has forked, as loading processes are, is left over."""
    ready = CONTEXT.SimpleQueue()
    holder = CONTEXT.Process(target=_hold, args=(tmp_path / 'new', ready, with_child), daemon=True)
    holder.start()
    answers = {ready.get() for _ in range(1 + with_child)}
    with pytest.raises(OSError, match=f'new belongs to a run of process {holder.pid} on {socket.gethostname()}: '):
        lock_work_dir(tmp_path / 'new').__enter__()
    holder.kill()
    holder.join()
    with lock_work_dir(tmp_path / 'new'):
        assert (tmp_path / 'new/run.lock').read_text() == f'process {os.getpid()} on {socket.gethostname()}\n'
    for child in answers - {0}:
        os.kill(child, signal.SIGKILL)


def test_it_ends_with_its_block(tmp_path):
    for _ in range(2):
        with lock_work_dir(tmp_path):
            pass
    child = CONTEXT.Process(target=lambda: lock_work_dir(tmp_path).__enter__())
    child.start()
    child.join()
    assert child.exitcode == 0


def test_a_file_system_without_locks_warns(tmp_path, monkeypatch):
    def lockf(*args) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')

    logged = []
    monkeypatch.setattr(fcntl, 'lockf', lockf)
    monkeypatch.setattr('mmrobust.engine.work_dir_lock.print_log', lambda line, **kwargs: logged.append(line))
    with lock_work_dir(tmp_path):
        pass
    assert logged == [f'{tmp_path} cannot be locked (No locks available): see that no other run writes there.']


def test_other_errors_are_not_passed_over(tmp_path, monkeypatch):
    def lockf(*args) -> None:
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(fcntl, 'lockf', lockf)
    with pytest.raises(OSError, match='Input/output error'):
        lock_work_dir(tmp_path).__enter__()
