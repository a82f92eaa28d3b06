"""One process at a time in a folder, and all of it or nothing."""

import errno
import fcntl
import multiprocessing
import os
import signal
import socket
from pathlib import Path

import pytest

from mmrobust.folders import fill_folder, is_empty, is_filled, lock_folder

CONTEXT = multiprocessing.get_context('fork')


def _hold(folder, ready, with_child: bool) -> None:
    with lock_folder(folder):
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
        lock_folder(tmp_path / 'new').__enter__()
    holder.kill()
    holder.join()
    with lock_folder(tmp_path / 'new'):
        assert (tmp_path / 'new/run.lock').read_text() == f'process {os.getpid()} on {socket.gethostname()}\n'
    for child in answers - {0}:
        os.kill(child, signal.SIGKILL)


def test_it_ends_with_its_block(tmp_path):
    for _ in range(2):
        with lock_folder(tmp_path):
            pass
    child = CONTEXT.Process(target=lambda: lock_folder(tmp_path).__enter__())
    child.start()
    child.join()
    assert child.exitcode == 0


def test_a_file_system_without_locks_warns(tmp_path, monkeypatch):
    def lockf(*args) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')

    logged = []
    monkeypatch.setattr(fcntl, 'lockf', lockf)
    monkeypatch.setattr('mmrobust.folders.print_log', lambda line, **kwargs: logged.append(line))
    with lock_folder(tmp_path):
        pass
    assert logged == [f'{tmp_path} cannot be locked (No locks available): see that no other run writes there.']


def test_other_errors_are_not_passed_over(tmp_path, monkeypatch):
    def lockf(*args) -> None:
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(fcntl, 'lockf', lockf)
    with pytest.raises(OSError, match='Input/output error'):
        lock_folder(tmp_path).__enter__()


def fill(folder, sign: str = '1') -> None:
    with fill_folder(folder, 'sign') as new:
        (new / 'sub').mkdir()
        (new / 'sub/file').write_text(sign)
        (new / 'sign').write_text(sign)


def content(folder) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob('*') if path.is_file()}


def test_a_folder_stays_itself(tmp_path, monkeypatch):
    """The current folder, a link to a folder, one that is empty but for what mkfs puts there, and a new one."""
    for name in ('current', 'target', 'volume/lost+found'):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / 'link').symlink_to('target')
    monkeypatch.chdir(tmp_path / 'current')
    for folder in ('.', tmp_path / 'link', tmp_path / 'volume', tmp_path / 'a/new'):
        before = os.stat(folder).st_ino if os.path.exists(folder) else None
        assert is_empty(Path(folder))
        for sign in ('1', '2'):
            fill(folder, sign)
            assert content(Path(folder)) == {'sub/file': sign, 'sign': sign}
            assert before in (None, os.stat(folder).st_ino)
        assert not is_empty(Path(folder))
    assert (tmp_path / 'link').is_symlink() and (tmp_path / 'volume/lost+found').is_dir()


@pytest.mark.parametrize('there', [False, True])
def test_what_fails_changes_nothing(tmp_path, there):
    if there:
        fill(tmp_path / 'folder')
    with pytest.raises(KeyboardInterrupt), fill_folder(tmp_path / 'folder', 'sign') as new:
        (new / 'half').touch()
        raise KeyboardInterrupt
    assert content(tmp_path) == ({'folder/sub/file': '1', 'folder/sign': '1'} if there else {})
    assert there or not list(tmp_path.iterdir())


def filled(folder, overwrite: bool = False, **parameters) -> bool:
    return is_filled(folder, 'sign', parameters, overwrite, 'streets')


def test_what_a_folder_was_filled_with(tmp_path):
    """MiniCity and the digits ask this before they write."""
    assert not filled(tmp_path / 'new', size=8)
    (tmp_path / 'sign').write_text('{"size": 8}')
    assert filled(tmp_path, size=8) and not filled(tmp_path, overwrite=True, size=16)
    with pytest.raises(ValueError, match=r'holds streets with other parameters, size=8 \(asked for 16\): pass --overw'):
        filled(tmp_path, size=16)
    with pytest.raises(ValueError, match=r'other parameters, size=8 \(asked for None\)'):
        filled(tmp_path)
    (tmp_path / 'sign').rename(tmp_path / 'thesis.txt')
    with pytest.raises(ValueError, match='must be a folder of streets, an empty one or a new one; it has no sign'):
        filled(tmp_path, overwrite=True, size=8)


@pytest.mark.parametrize('text', ['[1]', '{', 'null', '[' * 100_000])
def test_damaged_parameters_are_named(tmp_path, text):
    (tmp_path / 'sign').write_text(text)
    with pytest.raises(ValueError, match=rf'^{tmp_path}/sign is damaged .*remove the folder'):
        filled(tmp_path, size=8)


def _fill_and_wait(folder, ready) -> None:
    with fill_folder(folder, 'sign') as new:
        (new / 'half').touch()
        ready.put(True)
        signal.pause()


def test_what_a_killed_process_has_left_goes_the_next_time(tmp_path):
    ready = CONTEXT.SimpleQueue()
    process = CONTEXT.Process(target=_fill_and_wait, args=(tmp_path / 'folder', ready), daemon=True)
    process.start()
    ready.get()
    with pytest.raises(OSError, match=f'folder belongs to a run of process {process.pid} on '):
        fill(tmp_path / 'folder')
    process.kill()
    process.join()
    assert is_empty(tmp_path / 'folder') and list(tmp_path.rglob('half'))
    fill(tmp_path / 'folder')
    assert content(tmp_path / 'folder') == {'sub/file': '1', 'sign': '1'}
