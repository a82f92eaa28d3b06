"""The zip for a server: written as it must be, and every way in which it can be wrong is found."""

import io
import os
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile

import cv2
import numpy as np
import pytest
from PIL import Image

from mmrobust.datasets import CityscapesDataset
from mmrobust.evaluation.submission import SERVERS, check_submission, write_submission

SIZE = (6, 4)
NAMES = [f'GOPR0475_frame_{frame:06}_rgb_anon.png' for frame in (41, 42, 43, 44, 45)]
ACDC, CITYSCAPES = SERVERS['acdc'], SERVERS['cityscapes']
TOOL = 'analysis_tools/check_submission.py'


def png(array: np.ndarray, **kwargs) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array, **kwargs).save(content, 'PNG')
    return content.getvalue()


def label(value: int = 0, size: tuple[int, int] = SIZE) -> bytes:
    """One prediction, all of one value."""
    return png(np.full(size[::-1], value, np.uint8))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def raw_png(bits: int, kind: int, rows: bytes, size: tuple[int, int] = SIZE, **chunks: bytes) -> bytes:
    """A PNG of any bit depth and colour type."""
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', *size, bits, kind, 0, 0, 0))
    extra = b''.join(chunk(name.encode(), content) for name, content in chunks.items())
    return b'\x89PNG\r\n\x1a\n' + header + extra + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')


GOOD = raw_png(8, 0, bytes([0, *range(6)]) * 4)


def good_entries() -> dict[str, bytes]:
    return {f'labelTrainIds/{name}': label() for name in NAMES}


def zipped(path: Path, entries: dict[str, bytes] | list[tuple[str, bytes]], method: int = ZIP_DEFLATED) -> Path:
    with ZipFile(path, 'w', method) as archive:
        for name, content in entries.items() if isinstance(entries, dict) else entries:
            archive.writestr(name, content)
    return path


def problems(path: Path, names: list[str] = NAMES, size: tuple[int, int] = SIZE) -> str:
    with pytest.raises(ValueError) as info:
        check_submission(path, names, ACDC, size)
    message = str(info.value)
    assert message.startswith(f'{path} is no valid ACDC submission: ') and '\n' not in message
    return message.partition(': ')[2]


@pytest.fixture
def predictions(tmp_path) -> Path:
    """A folder with one prediction for each name; number i is all of class i, but for one pixel of class 18."""
    folder = tmp_path / 'predictions'
    folder.mkdir()
    for number, name in enumerate(NAMES):
        image = np.full(SIZE[::-1], number, np.uint8)
        image[0, 0] = 18
        assert cv2.imwrite(str(folder / name), image)
    return folder


def files(folder: Path, names: list[str] = NAMES) -> dict[str, Path]:
    return {name: folder / name for name in names}


def test_what_is_written_is_what_the_server_wants(tmp_path, predictions):
    target = tmp_path / 'new' / 'submission.zip'
    write_submission(files(predictions, NAMES[::-1]), target, ACDC)
    with ZipFile(target) as archive:
        assert archive.namelist() == [f'labelTrainIds/{name}' for name in NAMES]
        assert archive.testzip() is None
        for entry in archive.infolist():
            assert (entry.date_time, entry.create_system) == ((1980, 1, 1, 0, 0, 0), 3)
            assert entry.external_attr == 0o644 << 16  # readable where it is unzipped
        for number, name in enumerate(NAMES):
            with Image.open(io.BytesIO(archive.read(f'labelTrainIds/{name}'))) as image:
                assert (image.format, image.mode, image.size) == ('PNG', 'L', SIZE)
                assert image.getpixel((0, 0)) == 18 and image.getpixel((1, 0)) == number
    pixels = check_submission(target, NAMES, ACDC, SIZE)
    assert pixels.dtype == np.int64 and pixels.tolist() == [23] * 5 + [0] * 13 + [5]
    assert [path.name for path in target.parent.iterdir()] == ['submission.zip']


def test_the_server_takes_1920_x_1080(tmp_path):
    zipped(tmp_path / 'a.zip', {f'labelTrainIds/{NAMES[0]}': label(3, (1920, 1080))})
    assert ACDC.size == (1920, 1080)
    assert check_submission(tmp_path / 'a.zip', NAMES[:1], ACDC)[3] == 1920 * 1080
    zipped(tmp_path / 'b.zip', {f'labelTrainIds/{NAMES[0]}': label(3, (1080, 1920))})
    assert 'of 1080x1920 instead of 1920x1080 pixels' in problems(tmp_path / 'b.zip', NAMES[:1], ACDC.size)


def test_the_same_predictions_give_the_same_bytes(tmp_path, predictions):
    write_submission(files(predictions), tmp_path / 'a.zip', ACDC)
    for name in NAMES:
        os.utime(predictions / name, (1e9, 1e9))
        os.chmod(predictions / name, 0o600)
    write_submission(files(predictions, NAMES[::-1]), str(tmp_path / 'b.zip'), ACDC)
    assert (tmp_path / 'a.zip').read_bytes() == (tmp_path / 'b.zip').read_bytes()


def test_images_that_are_not_asked_for_are_left_out(tmp_path, predictions):
    write_submission(files(predictions, NAMES[1:3]), tmp_path / 'a.zip', ACDC)
    assert check_submission(tmp_path / 'a.zip', NAMES[1:3], ACDC, SIZE).sum() == 48


def test_nothing_is_written_if_anything_is_wrong(tmp_path, predictions):
    target = tmp_path / 'a.zip'
    target.write_bytes(b'before')
    (predictions / NAMES[0]).unlink()
    (predictions / NAMES[1]).write_bytes(label(24))
    (predictions / NAMES[2]).write_bytes(GOOD[:-20])
    with (predictions / NAMES[3]).open('wb') as file:
        file.truncate(10**9)
    with pytest.raises(ValueError) as info:
        write_submission(files(predictions), target, ACDC, SIZE)
    assert str(info.value) == (
        f"{predictions} holds no valid ACDC submission: 1 file missing ('{NAMES[0]}'); 1 file with other values than "
        f"0 to 18: these look like labelIds, not labelTrainIds ('{NAMES[1]}'); 1 file cut off or damaged "
        f"('{NAMES[2]}'); 1 file of more than 65728 bytes ('{NAMES[3]}')."
    )
    assert target.read_bytes() == b'before'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.zip', 'predictions']


def test_a_full_disk_changes_nothing(tmp_path, predictions, monkeypatch):
    (tmp_path / 'a.zip').write_bytes(b'before')

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        write_submission(files(predictions), tmp_path / 'a.zip', ACDC)
    assert (tmp_path / 'a.zip').read_bytes() == b'before'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.zip', 'predictions']


@pytest.mark.parametrize('method', [ZIP_STORED, ZIP_DEFLATED])
def test_a_zip_of_another_program_is_taken(tmp_path, method):
    entries = [('labelTrainIds/', b''), *good_entries().items()]
    assert check_submission(zipped(tmp_path / 'a.zip', entries, method), NAMES, ACDC, SIZE)[0] == 5 * 24


def test_missing_names_are_counted(tmp_path):
    entries = dict(list(good_entries().items())[:1])
    assert problems(zipped(tmp_path / 'a.zip', entries)) == (
        f"4 files missing ('{NAMES[1]}', '{NAMES[2]}', '{NAMES[3]}', ...)."
    )


@pytest.mark.parametrize('name', ['GOPR0475_frame_000041_gt_labelTrainIds.png', 'fog/' + NAMES[0], '../../' + NAMES[0]])
def test_unexpected_names(tmp_path, name):
    entries = good_entries() | {f'labelTrainIds/{name}': label()}
    assert problems(zipped(tmp_path / 'a.zip', entries)) == f"1 file without an image of that name ('{name}')."


@pytest.mark.parametrize(
    'name', [NAMES[0], f'a/labelTrainIds/{NAMES[0]}', f'../{NAMES[0]}', f'/{NAMES[0]}', '__MACOSX/x', 'labelTrainIds']
)
def test_entries_outside_the_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = zipped(tmp_path / 'a.zip', good_entries() | {name: label()})
    assert problems(path) == f"1 file outside labelTrainIds/ ('{name}')."
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_duplicates(tmp_path):
    entries = [*good_entries().items(), (f'labelTrainIds/{NAMES[2]}', label(1))]
    assert problems(zipped(tmp_path / 'a.zip', entries)) == f"1 file more than once in the zip ('{NAMES[2]}')."


COLOURS = np.zeros((4, 6, 3), np.uint8)
BROKEN_DATA = GOOD[:50] + bytes([GOOD[50] ^ 1]) + GOOD[51:]
BROKEN_CHECKSUM = GOOD[:-13] + bytes([GOOD[-13] ^ 1]) + GOOD[-12:]


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        (label(0, (4, 6)), 'of 4x6 instead of 6x4 pixels'),
        (label(0, (6, 5)), 'of 6x5 instead of 6x4 pixels'),
        (png(COLOURS), 'with RGB colours instead of one plain channel'),
        (png(np.zeros((4, 6, 4), np.uint8)), 'with RGBA colours instead of one plain channel'),
        (png(np.zeros((4, 6, 2), np.uint8), mode='LA'), 'with a transparency channel instead of one plain channel'),
        (raw_png(8, 3, bytes(28), PLTE=bytes(57)), 'with a palette instead of one plain channel'),
        (png(np.zeros((4, 6), np.uint16)), 'with 16 bits per value instead of 8'),
        (raw_png(4, 0, bytes(16)), 'with 4 bits per value instead of 8'),
        (raw_png(1, 0, bytes(8)), 'with 1 bits per value instead of 8'),
        (label(19), 'with other values than 0 to 18: these look like labelIds, not labelTrainIds'),
        (label(33), 'with other values than 0 to 18: these look like labelIds, not labelTrainIds'),
        (label(34), 'with other values than 0 to 18'),
        (label(254), 'with other values than 0 to 18'),
        (label(255), 'with the value 255, though every pixel needs a class'),
        (GOOD[:-1], 'cut off or damaged'),
        (GOOD[:-12], 'cut off or damaged'),
        (GOOD[:45], 'cut off or damaged'),
        (BROKEN_DATA, 'cut off or damaged'),
        (BROKEN_CHECKSUM, 'cut off or damaged'),
        (raw_png(8, 0, bytes(10)), 'cut off or damaged'),  # whole chunks, but rows are missing
        (GOOD[:20], 'in another format than PNG'),
        (b'', 'in another format than PNG'),
        (cv2.imencode('.jpg', COLOURS)[1].tobytes(), 'in another format than PNG'),
        (bytes(65729), 'of more than 65728 bytes'),
    ],
    ids=lambda value: value if isinstance(value, str) else f'{len(value)}_bytes',
)
def test_wrong_content(tmp_path, content, problem):
    name = NAMES[1]
    path = zipped(tmp_path / 'a.zip', good_entries() | {f'labelTrainIds/{name}': content})
    assert problems(path) == f"1 file {problem} ('{name}')."


def test_what_the_cases_above_are_derived_from_is_right(tmp_path):
    entries = good_entries() | {f'labelTrainIds/{NAMES[1]}': GOOD, f'labelTrainIds/{NAMES[2]}': label(18)}
    pixels = check_submission(zipped(tmp_path / 'a.zip', entries), NAMES, ACDC, SIZE)
    assert pixels.tolist() == [3 * 24 + 4, 4, 4, 4, 4, 4] + [0] * 12 + [24]


def test_all_problems_are_said_at_once(tmp_path):
    both = np.full(SIZE[::-1], 25, np.uint8)
    both[0] = 255
    entries = good_entries() | {
        f'labelTrainIds/{NAMES[0]}': png(both),
        f'labelTrainIds/{NAMES[1]}': png(np.zeros((9, 9, 3), np.uint8)),
        f'labelTrainIds/{NAMES[2]}': label(255),
        'readme.txt': b'',
    }
    del entries[f'labelTrainIds/{NAMES[4]}']
    message = problems(zipped(tmp_path / 'a.zip', entries))
    assert message == (
        f"1 file outside labelTrainIds/ ('readme.txt'); 1 file missing ('{NAMES[4]}'); 2 files with the value 255, "
        f"though every pixel needs a class ('{NAMES[0]}', '{NAMES[2]}'); 1 file with other values than 0 to 18: these "
        f"look like labelIds, not labelTrainIds ('{NAMES[0]}'); 1 file of 9x9 instead of 6x4 pixels ('{NAMES[1]}'); 1 "
        f"file with RGB colours instead of one plain channel ('{NAMES[1]}')."
    )


def test_the_message_is_bounded(tmp_path):
    names = [f'{number}_rgb_anon.png' for number in range(30)]
    entries = {f'labelTrainIds/{name}': label(0, (7, 5 + number)) for number, name in enumerate(names)}
    entries |= {f'{number:05}' + 'x' * 60000: b'' for number in range(5)} | {'\x1b[31m': b''}
    message = problems(zipped(tmp_path / 'a.zip', entries), names)
    assert len(message) < 2000 and message.endswith('; and 19 more kinds of problems.')
    assert '\x1b' not in message


@pytest.mark.parametrize('method', [ZIP_BZIP2, ZIP_LZMA])
def test_other_compression(tmp_path, method):
    path = zipped(tmp_path / 'a.zip', {f'labelTrainIds/{NAMES[0]}': label()}, method)
    assert 'compressed with something else than deflate' in problems(path, NAMES[:1])


def test_encrypted_entries(tmp_path):
    path = zipped(tmp_path / 'a.zip', {f'labelTrainIds/{NAMES[0]}': label()})
    content = bytearray(path.read_bytes())
    content[content.index(b'PK\x01\x02') + 8] |= 1
    path.write_bytes(content)
    assert problems(path, NAMES[:1]) == f"1 file encrypted ('{NAMES[0]}')."


def test_damage_inside_the_zip(tmp_path):
    path = zipped(tmp_path / 'a.zip', good_entries(), ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b'IDAT') + 4] ^= 1
    path.write_bytes(content)
    assert problems(path) == f"1 file broken in the zip ('{NAMES[0]}')."


@pytest.mark.parametrize('honest', [True, False])
def test_a_bomb_does_not_fill_the_memory(tmp_path, honest):
    path = tmp_path / 'a.zip'
    size = 2**26
    zipped(path, {f'labelTrainIds/{NAMES[0]}': bytes(size)})
    if not honest:  # says that it holds 1000 bytes
        content = path.read_bytes()
        path.write_bytes(content.replace(struct.pack('<I', size), struct.pack('<I', 1000)))
    tracemalloc.start()
    message = problems(path, NAMES[:1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ('of more than 65728 bytes' if honest else 'broken in the zip') in message
    assert peak < size / 16


def test_a_bomb_inside_a_png_is_not_decoded(tmp_path):
    huge = raw_png(8, 0, b'', (2**31 - 1, 2**31 - 1))
    message = problems(zipped(tmp_path / 'a.zip', {f'labelTrainIds/{NAMES[0]}': huge}), NAMES[:1])
    assert message == f"1 file of 2147483647x2147483647 instead of 6x4 pixels ('{NAMES[0]}')."


@pytest.mark.parametrize('cut', [0, 1, 100, -1, -30])
def test_no_zip(tmp_path, cut):
    path = zipped(tmp_path / 'a.zip', good_entries())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r'a\.zip \(\d+ bytes\) is no whole zip'):
        check_submission(path, NAMES, ACDC, SIZE)


def test_no_file(tmp_path, predictions):
    with pytest.raises(FileNotFoundError, match='There is no submission'):
        check_submission(tmp_path, NAMES, ACDC)
    with pytest.raises(ValueError, match='5 files missing'):
        write_submission(files(tmp_path / 'none'), tmp_path / 'a.zip', ACDC)


@pytest.mark.parametrize(
    ('names', 'size', 'sentence'),
    [
        ([], SIZE, 'got none'),
        (['a.png', 'fog/b.png'], SIZE, "without folders, got 'fog/b.png'"),
        (['a.png', 'b.png', 'a.png'], SIZE, "names must differ.*'a.png' came twice"),
        (['a.png'], (0, 4), r'both 1 or more, got \(0, 4\)'),
        (['a.png'], (4,), r'got \(4,\)'),
    ],
)
def test_wrong_arguments(tmp_path, names, size, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_submission(tmp_path / 'a.zip', names, ACDC, size)
    if len(set(names)) == len(names):
        with pytest.raises(ValueError, match=sentence):
            write_submission(files(tmp_path, names), tmp_path / 'a', ACDC, size)


@pytest.fixture
def data_root(tmp_path) -> Path:
    """The test split of ACDC: five images in the fog, one of each other condition."""
    for condition in ('night', 'rain', 'snow'):
        path = tmp_path / f'acdc/rgb_anon/{condition}/test/X/{condition}_rgb_anon.png'
        path.parent.mkdir(parents=True)
        path.touch()
    for name in NAMES:
        path = tmp_path / 'acdc/rgb_anon/fog/test/GOPR0475' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / 'acdc'


def test_tool_says_ok(tmp_path, predictions, data_root, tool, capsys):
    write_submission(files(predictions), tmp_path / 'a.zip', ACDC)
    options = ['--data-root', str(data_root), '--conditions', 'fog', '--size', '6', '4', '--expected-images', '5']
    tool.main(['acdc', str(tmp_path / 'a.zip'), *options])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'OK: 5 predictions of 6 x 4 pixels.' and len(lines) == 20
    assert lines[1].split() == ['road', '19.17%'] and lines[19].split() == ['bicycle', '4.17%']


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ([], 'must have 2000 images, got 8: unzip all of it there, or give --expected-images 8'),
        (
            ['--expected-images', '8'],
            "3 files missing ('night_rgb_anon.png', 'rain_rgb_anon.png', 'snow_rgb_anon.png')",
        ),
        (['--split', 'val'], "There is no image of fog, night, rain, snow in the split 'val'"),
        (['--data-root', '/none'], 'There is no ACDC in /none'),
        (['--size', '0', '4', '--expected-images', '8'], 'got (0, 4)'),
    ],
)
def test_tool_says_what_is_wrong(tmp_path, predictions, data_root, tool, capsys, options, sentence, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [TOOL])
    write_submission(files(predictions), tmp_path / 'a.zip', ACDC)
    with pytest.raises(SystemExit) as exit_:
        tool.main(['acdc', str(tmp_path / 'a.zip'), '--data-root', str(data_root), '--size', '6', '4', *options])
    captured = capsys.readouterr()
    assert exit_.value.code == 2 and 'OK' not in captured.out
    assert captured.err.startswith('check_submission.py: error: ') and sentence in captured.err


MUNICH = [f'munich_{frame:06}_000019_leftImg8bit.png' for frame in range(4)]


@pytest.fixture
def munich(tmp_path) -> Path:
    """The test split of Cityscapes, four images, and predictions of all 19 classes below ``predictions``."""
    for name in MUNICH:
        image = tmp_path / 'cityscapes/leftImg8bit/test/munich' / name
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(png(np.zeros((2, 10, 3), np.uint8)))
        prediction = tmp_path / 'predictions' / name
        prediction.parent.mkdir(exist_ok=True)
        prediction.write_bytes(png(np.append(np.arange(19), 13).astype(np.uint8).reshape(2, 10)))
    return tmp_path


def test_cityscapes_gets_label_ids(munich, tool, capsys):
    """Ids and names of classes as published by Cityscapes; the order of the names is MMSegmentation's."""
    target = munich / 'a.zip'
    said = write_submission(files(munich / 'predictions', MUNICH), target, CITYSCAPES)
    assert said == [
        f'{target}: 4 predictions for https://www.cityscapes-dataset.com/submit',
        'The server takes 2048 x 1024 pixels, but these images have 10 x 2.',
        'The server takes 1525 images, but these are 4.',
    ]
    with ZipFile(target) as archive:
        assert archive.namelist() == [f'munich_{frame:06}_000019_labelIds.png' for frame in range(4)]
        with Image.open(io.BytesIO(archive.read(archive.namelist()[3]))) as image:
            assert (image.format, image.mode) == ('PNG', 'L')
            found = np.asarray(image).ravel().tolist()
    published = {'road': 7, 'pole': 17, 'traffic light': 19, 'sky': 23, 'car': 26, 'train': 31, 'bicycle': 33}
    names = CityscapesDataset.METAINFO['classes']
    assert all(found[names.index(name)] == label_id for name, label_id in published.items())
    assert found == [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33, 26]
    assert check_submission(target, MUNICH, CITYSCAPES, (10, 2)).tolist() == [4] * 13 + [8] + [4] * 5
    options = ['--data-root', str(munich / 'cityscapes'), '--size', '10', '2', '--expected-images', '4']
    tool.main(['cityscapes', str(target), *options])
    assert 'OK: 4 predictions of 10 x 2 pixels.' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        tool.main(['cityscapes', str(target), *options[:5]])
    assert 'must have 1525 images, got 4: unzip all of it there' in capsys.readouterr().err


def test_cityscapes_takes_any_folder_and_any_end_of_the_name(tmp_path):
    ids = np.full((2, 10), 33, np.uint8)
    entries = {'results/': b''} | {f'results/munich/{name[:20]}_pred.png': png(ids) for name in MUNICH}
    assert check_submission(zipped(tmp_path / 'a.zip', entries), MUNICH, CITYSCAPES, (10, 2))[18] == 80


@pytest.mark.parametrize(
    ('entry', 'value', 'problem'),
    [
        (
            'munich_000000_000019.png',
            18,
            'other values than 7, 8, 11 to 13, 17, 19 to 28, 31 to 33: these look like lab',
        ),
        ('munich_000000_000019.png', 29, '31 to 33 ('),
        ('munich_000000_000019.png', 255, 'with the value 255, though every pixel needs a class'),
        ('b/munich_000001_000019.png', 7, "1 file more than once in the zip ('munich_000001_000019.png'"),
        ('munich_000009_000019.png', 7, "1 file without an image of that name ('munich_000009_000019"),
        ('munich_000000_0000190.png', 7, "1 file without an image of that name ('munich_000000_0000190"),
        ('munich_000000_000019.txt', 7, "1 file without an image of that name ('munich_000000_000019.txt"),
    ],
)
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_cityscapes_finds_what_is_wrong(tmp_path, entry, value, problem):
    entries = {f'{name[:20]}.png': png(np.full((2, 10), 7, np.uint8)) for name in MUNICH}
    path = zipped(tmp_path / 'a.zip', entries | {entry: png(np.full((2, 10), value, np.uint8))})
    with pytest.raises(ValueError) as info:
        check_submission(path, MUNICH, CITYSCAPES, (10, 2))
    assert str(info.value).startswith(f'{path} is no valid Cityscapes submission: ') and problem in str(info.value)


def test_cityscapes_misses_an_image(tmp_path):
    path = zipped(tmp_path / 'a.zip', {f'{MUNICH[0][:20]}.png': png(np.full((2, 10), 7, np.uint8))})
    with pytest.raises(ValueError, match=r"3 files missing \('munich_000001_000019', "):
        check_submission(path, MUNICH, CITYSCAPES, (10, 2))
    with pytest.raises(ValueError, match=r"names must be those of images of Cityscapes, got 'a\.png'"):
        check_submission(path, ['a.png'], CITYSCAPES)
