import os

import pytest

from mmrobust.files import create_whole, read_json, write_whole


def test_text_and_bytes_in_a_new_folder(tmp_path):
    write_whole(tmp_path / 'a/b/c.txt', 'schön')
    write_whole(tmp_path / 'a/b/c.txt', 'neu')
    write_whole(str(tmp_path / 'a/d'), b'\x00\xff')
    assert (tmp_path / 'a/b/c.txt').read_text() == 'neu' and (tmp_path / 'a/d').read_bytes() == b'\x00\xff'
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['a', 'b', 'c.txt', 'd']


@pytest.mark.parametrize('links', [True, False])
def test_who_comes_second_finds_the_first_ones_file(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, 'link', lambda *_: (_ for _ in ()).throw(OSError(95, 'Operation not supported')))
    path = tmp_path / 'a/identity.json'
    create_whole(path, 'first')
    monkeypatch.setattr('pathlib.Path.exists', lambda _: False)  # it looked a moment before
    create_whole(path, 'second')
    assert path.read_text() == 'first' and os.listdir(path.parent) == ['identity.json']


@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt()])
def test_what_was_there_stays(tmp_path, monkeypatch, error):
    path = tmp_path / 'results.json'
    write_whole(path, 'old')

    def fails(_):
        raise error

    monkeypatch.setattr(os, 'fsync', fails)
    with pytest.raises(type(error), match='nothing was changed.*results.json' if isinstance(error, OSError) else None):
        write_whole(path, 'new')
    assert path.read_text() == 'old' and list(tmp_path.iterdir()) == [path]


def test_a_name_of_ones_own_is_overwritten_by_the_next_try(tmp_path):
    (tmp_path / 'x.tmp').write_text('left by a killed process')
    write_whole(tmp_path / 'x', 'whole', temporary=tmp_path / 'x.tmp')
    assert [path.name for path in tmp_path.iterdir()] == ['x']


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='nothing was changed'):
        write_whole(tmp_path / 'file/results.json', '')


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (b'{"a"', 'is no JSON: Expecting'),
        (b'\xff', 'is no JSON: .*decode'),
        (b'', 'is no JSON: Expecting value'),
        (b'[' * 60 + b']' * 60, 'is nested deeper than 50 levels$'),
        (b'[' * 200_000, 'is nested deeper than 50 levels$'),
        (b'{"a":' * 60 + b'0' + b'}' * 60, 'is nested deeper than 50 levels$'),
    ],
)
def test_json_that_is_none(tmp_path, content, sentence):
    (tmp_path / 'a.json').write_bytes(content)
    with pytest.raises(ValueError, match=rf'^{tmp_path}/a\.json {sentence}'):
        read_json(tmp_path / 'a.json')


def test_json(tmp_path):
    (tmp_path / 'a.json').write_text('{"sch\u00f6n": [1, [null]]}', encoding='utf-8')
    assert read_json(tmp_path / 'a.json') == {'sch\u00f6n': [1, [None]]}


def test_names_of_an_ascii_locale_become_what_they_were(tmp_path):
    write_whole(tmp_path / 'a', os.fsencode('Ä').decode('ascii', 'surrogateescape'))
    assert (tmp_path / 'a').read_text(encoding='utf-8') == 'Ä'


@pytest.mark.parametrize('temporary', [None, 'file.tmp'])
def test_links_are_followed(tmp_path, temporary):
    (tmp_path / 'other').mkdir()
    for name in ('file', 'dangling'):
        (tmp_path / name).symlink_to(tmp_path / 'other' / name)
    (tmp_path / 'other/file').write_text('old')
    for name in ('file', 'dangling'):
        write_whole(tmp_path / name, 'new', temporary and tmp_path / temporary)
        assert (tmp_path / name).is_symlink() and (tmp_path / 'other' / name).read_text() == 'new'
    assert sorted(path.name for path in (tmp_path / 'other').iterdir()) == ['dangling', 'file']


def test_pipes_and_devices_are_written_into(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'null').symlink_to('/dev/null')
    reader = os.open(tmp_path / 'pipe', os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / 'pipe', 'content')
    assert os.read(reader, 100) == b'content' and (tmp_path / 'pipe').is_fifo()
    os.close(reader)
    write_whole(tmp_path / 'null', 'content')
    assert (tmp_path / 'null').is_char_device() and (tmp_path / 'null').is_symlink()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, 'content')
