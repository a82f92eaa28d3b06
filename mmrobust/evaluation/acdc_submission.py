"""Zip of predictions for the ACDC server: writing and checking.

The server (https://acdc.vision.ee.ethz.ch) wants ``labelTrainIds/<name of the image>`` for every image of the test
split, or of one of its conditions: PNG of 1920 x 1080 pixels with one 8-bit channel, which holds the train ids 0 to 18.
"""

import io
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from PIL import Image

from mmrobust.datasets.transforms.loading import PNG_START, lacks_end
from mmrobust.files import write_whole

__all__ = ['FOLDER', 'NUM_CLASSES', 'SERVER_SIZE', 'check_submission', 'write_submission']

FOLDER = 'labelTrainIds'
NUM_CLASSES = 19
SERVER_SIZE = (1920, 1080)

LARGEST_LABEL_ID = 33
KINDS = {2: 'RGB colours', 3: 'a palette', 4: 'a transparency channel', 6: 'RGBA colours'}  # PNG, 11.2.1: colour type
SHOWN_FILES, SHOWN_PROBLEMS, SHOWN_LETTERS = 3, 12, 80


def write_submission(
    predictions: str | Path, target: str | Path, names: Iterable[str], size: tuple[int, int] = SERVER_SIZE
) -> None:
    """Zip predictions for the server: whole or not at all, and the same predictions give the same bytes.

    Args:
        predictions: folder of PNGs under the names of their images; others in it are left out.
        target: the zip to write; one that is there is replaced.
        names: file names of the images, such as ``GOPR0475_frame_000041_rgb_anon.png``.
        size: width and height of every image in pixels.

    Raises:
        FileNotFoundError: there is no folder of predictions.
        ValueError: predictions are missing or not as the server wants them, all of which is said; or the names are not
            distinct file names.
        OSError: the disk is full; a zip that was there is still there.
    """
    names, folder = _checked(names, size), Path(predictions)
    if not folder.is_dir():
        raise FileNotFoundError(f'There is no folder of predictions {str(folder)!r}.')
    problems, content = _Problems(), io.BytesIO()
    with ZipFile(content, 'w') as archive:
        for name in names:
            file = folder / name
            if not file.is_file():
                problems.add('missing', name)
            elif file.stat().st_size > _limit(size):
                problems.add(f'of more than {_limit(size)} bytes', name)
            else:
                png = file.read_bytes()
                _count(png, size, name, problems)
                entry = ZipInfo(f'{FOLDER}/{name}')  # dated 1980; not compressed, because a PNG is
                entry.create_system, entry.external_attr = 3, 0o644 << 16  # Unix, on every system
                archive.writestr(entry, png)
    problems.raise_any(f'{folder} holds no valid ACDC submission')
    write_whole(target, content.getvalue())


def check_submission(path: str | Path, names: Iterable[str], size: tuple[int, int] = SERVER_SIZE) -> np.ndarray:
    """Check a zip as the server would see it. Nothing is written to the disk, and no entry can fill the memory.

    Args:
        path: the zip.
        names: file names of the images, such as ``GOPR0475_frame_000041_rgb_anon.png``.
        size: width and height of every image in pixels.

    Returns:
        (19,) int64, the pixels of each class in all predictions together.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no zip, or not as the server wants it; the message says all that is wrong, with the first
            files of each kind. Or the names are not distinct file names.
    """
    names, path = _checked(names, size), Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no submission {str(path)!r}.')
    try:
        archive = ZipFile(path)
    except Exception as error:  # a broken directory at its end has many exceptions
        raise ValueError(f'{path} ({path.stat().st_size} bytes) is no whole zip: {error}.') from error
    problems, pixels = _Problems(), np.zeros(NUM_CLASSES, np.int64)
    with archive:
        entries = _entries(archive, names, problems)
        for name, entry in entries.items():
            png = _read(archive, entry, _limit(size), name, problems)
            if png is not None:
                pixels += _count(png, size, name, problems)
    problems.raise_any(f'{path} is no valid ACDC submission')
    return pixels


class _Problems:
    """Problems found, with file names."""

    def __init__(self) -> None:
        self.files: dict[str, list[str]] = {}

    def add(self, what: str, name: str) -> None:
        self.files.setdefault(what, []).append(name)

    def raise_any(self, start: str) -> None:
        if not self.files:
            return
        parts = [
            f'{len(names)} {"file" if len(names) == 1 else "files"} {what} ({_shown(names)})'
            for what, names in self.files.items()
        ]
        if len(parts) > SHOWN_PROBLEMS:
            parts[SHOWN_PROBLEMS:] = [f'and {len(parts) - SHOWN_PROBLEMS} more kinds of problems']
        raise ValueError(f'{start}: {"; ".join(parts)}.')


def _shown(names: list[str]) -> str:
    """The first names; quoted and cut, because those in a zip can hold anything."""
    short = [name if len(name) <= SHOWN_LETTERS else f'{name[:SHOWN_LETTERS]}...' for name in names[:SHOWN_FILES]]
    return ', '.join(map(repr, short)) + (', ...' if len(names) > SHOWN_FILES else '')


def _checked(names: Iterable[str], size: tuple[int, int]) -> list[str]:
    names = sorted(names)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f'size must be width and height in pixels, both 1 or more, got {tuple(size)}.')
    if not names:
        raise ValueError('names must be those of one image or more, got none.')
    paths = [name for name in names if name != Path(name).name]
    if paths:
        raise ValueError(f'names must be file names without folders, got {_shown(paths)}.')
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise ValueError(f'names must differ, because a submission has one folder, but {_shown(twice)} came twice.')
    return names


def _limit(size: tuple[int, int]) -> int:
    """Bytes that no PNG of this size exceeds, not even 16-bit RGBA without compression."""
    return 8 * size[0] * size[1] + 2**16


def _entries(archive: ZipFile, names: list[str], problems: _Problems) -> dict[str, ZipInfo]:
    """Find the entry of each name and note every other one, except the folder itself."""
    found: dict[str, ZipInfo] = {}
    wanted = set(names)
    for entry in archive.infolist():
        folder, _, name = entry.filename.partition('/')
        if entry.filename == f'{FOLDER}/':
            continue
        if folder != FOLDER or not name:
            problems.add(f'outside {FOLDER}/', entry.filename)
        elif name not in wanted:
            problems.add('without an image of that name', name)
        elif name in found:
            problems.add('more than once in the zip', name)
        else:
            found[name] = entry
    for name in names:
        if name not in found:
            problems.add('missing', name)
    return found


def _read(archive: ZipFile, entry: ZipInfo, limit: int, name: str, problems: _Problems) -> bytes | None:
    """Read an entry, unless it is too large or cannot be read."""
    if entry.file_size > limit:
        problems.add(f'of more than {limit} bytes', name)
    elif entry.flag_bits & 1:
        problems.add('encrypted', name)
    # Of bzip2 and lzma zipfile decompresses more than it is asked for.
    elif entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        problems.add('compressed with something else than deflate', name)
    else:
        try:
            with archive.open(entry) as file:
                return file.read(entry.file_size)  # without a number zipfile decompresses all there is, however much
        except Exception:  # zipfile, zlib and struct have exceptions of their own
            problems.add('broken in the zip', name)
    return None


def _count(png: bytes, size: tuple[int, int], name: str, problems: _Problems) -> np.ndarray:
    """Count the pixels of each class, (19,) int64, and note what the server would not take."""
    counts = np.zeros(NUM_CLASSES, np.int64)
    if len(png) < 33 or not png.startswith(PNG_START) or png[12:16] != b'IHDR':
        problems.add('in another format than PNG', name)
        return counts
    width, height, bits, kind = struct.unpack('>IIBB', png[16:26])
    found = []
    if (width, height) != tuple(size):
        found.append(f'of {width}x{height} instead of {size[0]}x{size[1]} pixels')
    if kind != 0:
        found.append(f'with {KINDS.get(kind, "an unknown kind of pixels")} instead of one plain channel')
    if bits != 8:
        found.append(f'with {bits} bits per value instead of 8')
    if not found:  # the size is known to be harmless, and the values are what they seem
        try:
            counts, found = _count_values(_decode(png))
        except Exception:  # Pillow raises OSError, SyntaxError, ValueError and more
            found = ['cut off or damaged']
    for what in found:
        problems.add(what, name)
    return counts


def _decode(png: bytes) -> np.ndarray:
    """(H, W) uint8; any exception if a byte is missing or changed."""
    if lacks_end(png):
        raise ValueError('no end')
    with Image.open(io.BytesIO(png), formats=['PNG']) as image:
        image.verify()  # the checksums, which decoding does not look at
    with Image.open(io.BytesIO(png), formats=['PNG']) as image:
        return np.asarray(image)


def _count_values(label: np.ndarray) -> tuple[np.ndarray, list[str]]:
    counts = np.bincount(label.ravel(), minlength=256)
    wrong = np.flatnonzero(counts[NUM_CLASSES:255]) + NUM_CLASSES
    found = ['with the value 255, though every pixel needs a class'] if counts[255] else []
    if len(wrong) and wrong[-1] <= LARGEST_LABEL_ID:
        found.append(f'with values from {NUM_CLASSES} to {LARGEST_LABEL_ID}: these look like labelIds, not {FOLDER}')
    elif len(wrong):
        found.append(f'with values above {LARGEST_LABEL_ID}, where 0 to {NUM_CLASSES - 1} are allowed')
    return counts[:NUM_CLASSES], found
