"""Zip of predictions for the servers of ACDC and Cityscapes: writing and checking.

Both take PNGs with one 8-bit channel and a class for every pixel; :data:`SERVERS` says what they differ in.
"""

import io
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from PIL import Image

from mmrobust.datasets.cityscapes import LABEL_IDS
from mmrobust.datasets.transforms.loading import PNG_START, lacks_end
from mmrobust.files import write_whole

TRAIN_IDS = tuple(range(len(LABEL_IDS)))
VALUES = {TRAIN_IDS: 'labelTrainIds', LABEL_IDS: 'labelIds'}
ALLOWED = {TRAIN_IDS: '0 to 18', LABEL_IDS: '7, 8, 11 to 13, 17, 19 to 28, 31 to 33'}
KINDS = {2: 'RGB colours', 3: 'a palette', 4: 'a transparency channel', 6: 'RGBA colours'}  # PNG, 11.2.1: colour type
SHOWN_FILES, SHOWN_PROBLEMS, SHOWN_LETTERS = 3, 12, 80
Problems = defaultdict[str, list[str]]  # what is wrong, to the names of files


class Server(NamedTuple):
    """What a server takes.

    Attributes:
        title: of the data set.
        address: where a zip is uploaded.
        folder: of the zip, where all predictions must lie; empty if they may lie anywhere.
        ids: value of each of the 19 classes in a prediction.
        size: width and height of a prediction in pixels.
        num_images: of a whole submission; of ACDC, of one to four conditions.
        name: pattern of the part of an image's name that a prediction must begin with; empty for the whole name.
    """

    title: str
    address: str
    folder: str
    ids: tuple[int, ...]
    size: tuple[int, int]
    num_images: tuple[int, ...]
    name: str = ''

    def key(self, name: str) -> str | None:
        """What the server knows an image by, of the name of the image or of a prediction; None if it is neither."""
        if not self.name:
            return name
        found = re.match(self.name, name)
        return found[0] if found and name.endswith('.png') else None

    def entry(self, name: str) -> str:
        """Name in the zip of the prediction for an image."""
        return f'{self.key(name)}_{VALUES[self.ids]}.png' if self.name else f'{self.folder}/{name}'


SERVERS = {
    # labelTrainIds/<name of the image>
    'acdc': Server(
        'ACDC',
        'https://acdc.vision.ee.ethz.ch/submit',
        'labelTrainIds',
        TRAIN_IDS,
        (1920, 1080),
        (500, 1000, 1500, 2000),
    ),
    # <city>_<sequence>_<frame>*.png in any folder, each image once
    'cityscapes': Server(
        'Cityscapes',
        'https://www.cityscapes-dataset.com/submit',
        '',
        LABEL_IDS,
        (2048, 1024),
        (1525,),
        r'[^_]+_\d+_\d+(?=[_.])',
    ),
}


def write_submission(
    predictions: Mapping[str, Path], target: str | Path, server: Server, size: tuple[int, int] | None = None
) -> list[str]:
    """Zip predictions for a server: whole or not at all, and the same predictions give the same bytes.

    Args:
        predictions: name of each image, such as ``GOPR0475_frame_000041_rgb_anon.png``, to a PNG of train ids.
        target: the zip to write; one that is there is replaced.
        server: for whom; train ids become its ids.
        size: width and height of every image in pixels; None takes that of the first prediction.

    Returns:
        Sentences to tell the user: what was written, and why the server would not take it if the images are not its.

    Raises:
        ValueError: predictions are missing or not as the server wants them, all of which is said; or the names are not
            distinct file names.
        OSError: the disk is full; a zip that was there is still there.
    """
    files = {str(name): Path(file) for name, file in predictions.items()}
    size = size or _size_of(next(iter(files.values()), None)) or server.size
    names = _checked(files, size, server)
    table = np.zeros(256, np.uint8)
    table[: len(server.ids)] = server.ids
    problems, content = defaultdict(list), io.BytesIO()
    with ZipFile(content, 'w') as archive:
        for name in names:
            file = files[name]
            if not file.is_file():
                problems['missing'].append(name)
                continue
            if file.stat().st_size > _limit(size):
                problems[f'of more than {_limit(size)} bytes'].append(name)
                continue
            png = file.read_bytes()
            label = _label(png, size, name, problems)
            if label is None:
                continue
            _count(label, TRAIN_IDS, name, problems)
            if server.ids != TRAIN_IDS:
                renumbered = io.BytesIO()
                Image.fromarray(table[label]).save(renumbered, 'PNG')
                png = renumbered.getvalue()
            entry = ZipInfo(server.entry(name))  # dated 1980; not compressed, because a PNG is
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # Unix, on every system
            archive.writestr(entry, png)
    _raise(problems, f'{files[names[0]].parent} holds no valid {server.title} submission')
    write_whole(target, content.getvalue())
    said = [f'{target}: {len(names)} predictions for {server.address}']
    if size != server.size:
        takes, here = (f'{width} x {height}' for width, height in (server.size, size))
        said.append(f'The server takes {takes} pixels, but these images have {here}.')
    if len(names) not in server.num_images:
        takes = ' or '.join(map(str, server.num_images))
        said.append(f'The server takes {takes} images, but these are {len(names)}.')
    return said


def check_submission(
    path: str | Path, names: Iterable[str], server: Server, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Check a zip as the server would see it. Nothing is written to the disk, and no entry can fill the memory.

    Args:
        path: the zip.
        names: file names of the images, such as ``GOPR0475_frame_000041_rgb_anon.png``.
        server: for whom.
        size: width and height of every image in pixels; None takes the server's.

    Returns:
        (19,) int64, the pixels of each class in all predictions together.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no zip, or not as the server wants it; the message says all that is wrong, with the first
            files of each kind. Or the names are not distinct file names.
    """
    size = tuple(size or server.size)
    names, path = _checked(names, size, server), Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no submission {str(path)!r}.')
    try:
        archive = ZipFile(path)
    except Exception as error:  # a broken directory at its end has many exceptions
        raise ValueError(f'{path} ({path.stat().st_size} bytes) is no whole zip: {error}.') from error
    problems, pixels = defaultdict(list), np.zeros(len(server.ids), np.int64)
    with archive:
        entries = _entries(archive, names, server, problems)
        for name, entry in entries.items():
            png = _read(archive, entry, _limit(size), name, problems)
            label = None if png is None else _label(png, size, name, problems)
            if label is not None:
                pixels += _count(label, server.ids, name, problems)
    _raise(problems, f'{path} is no valid {server.title} submission')
    return pixels


def _raise(problems: Problems, start: str) -> None:
    if not problems:
        return
    parts = [
        f'{len(names)} {"file" if len(names) == 1 else "files"} {what} ({_shown(names)})'
        for what, names in problems.items()
    ]
    if len(parts) > SHOWN_PROBLEMS:
        parts[SHOWN_PROBLEMS:] = [f'and {len(parts) - SHOWN_PROBLEMS} more kinds of problems']
    raise ValueError(f'{start}: {"; ".join(parts)}.')


def _shown(names: list[str]) -> str:
    """The first names; quoted and cut, because those in a zip can hold anything."""
    short = [name if len(name) <= SHOWN_LETTERS else f'{name[:SHOWN_LETTERS]}...' for name in names[:SHOWN_FILES]]
    return ', '.join(map(repr, short)) + (', ...' if len(names) > SHOWN_FILES else '')


def _checked(names: Iterable[str], size: tuple[int, int], server: Server) -> list[str]:
    names = sorted(names)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f'size must be width and height in pixels, both 1 or more, got {tuple(size)}.')
    if not names:
        raise ValueError('names must be those of one image or more, got none.')
    paths = [name for name in names if name != Path(name).name]
    if paths:
        raise ValueError(f'names must be file names without folders, got {_shown(paths)}.')
    strange = [name for name in names if server.key(name) is None]
    if strange:
        raise ValueError(f'names must be those of images of {server.title}, got {_shown(strange)}.')
    twice = [name for name, number in Counter(map(server.key, names)).items() if number > 1]
    if twice:
        raise ValueError(
            f'names must differ, because a submission has each image once, but {_shown(twice)} came twice.'
        )
    return names


def _limit(size: tuple[int, int]) -> int:
    """Bytes that no PNG of this size exceeds, not even 16-bit RGBA without compression."""
    return 8 * size[0] * size[1] + 2**16


def _size_of(file: Path | None) -> tuple[int, int] | None:
    """Width and height of a PNG; None if it is none."""
    try:
        with Image.open(file, formats=['PNG']) as image:
            return image.size
    except Exception:  # no file, no image, or Pillow's SyntaxError and more; what is wrong is said of every file later
        return None


def _entries(archive: ZipFile, names: list[str], server: Server, problems: Problems) -> dict[str, ZipInfo]:
    """Find the entry of each image, by what the server knows it by, and note every other one, except folders."""
    found: dict[str, ZipInfo] = {}
    wanted = dict.fromkeys(map(server.key, names))
    for entry in archive.infolist():
        folder, _, name = entry.filename.partition('/') if server.folder else entry.filename.rpartition('/')
        if entry.filename == f'{server.folder}/' or (entry.is_dir() and not server.folder):
            continue
        key = server.key(name)
        if server.folder and (folder != server.folder or not name):
            problems[f'outside {server.folder}/'].append(entry.filename)
        elif key not in wanted:
            problems['without an image of that name'].append(name)
        elif key in found:
            problems['more than once in the zip'].append(name)
        else:
            found[key] = entry
    for key in wanted:
        if key not in found:
            problems['missing'].append(key)
    return found


def _read(archive: ZipFile, entry: ZipInfo, limit: int, name: str, problems: Problems) -> bytes | None:
    """Read an entry, unless it is too large or cannot be read."""
    if entry.file_size > limit:
        problems[f'of more than {limit} bytes'].append(name)
    elif entry.flag_bits & 1:
        problems['encrypted'].append(name)
    # Of bzip2 and lzma zipfile decompresses more than it is asked for.
    elif entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        problems['compressed with something else than deflate'].append(name)
    else:
        try:
            with archive.open(entry) as file:
                return file.read(entry.file_size)  # without a number zipfile decompresses all there is, however much
        except Exception:  # zipfile, zlib and struct have exceptions of their own
            problems['broken in the zip'].append(name)
    return None


def _label(png: bytes, size: tuple[int, int], name: str, problems: Problems) -> np.ndarray | None:
    """A prediction as (H, W) uint8; None, and what the server would not take is noted, if it is none."""
    if len(png) < 33 or not png.startswith(PNG_START) or png[12:16] != b'IHDR':
        problems['in another format than PNG'].append(name)
        return None
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
            with Image.open(io.BytesIO(png), formats=['PNG']) as image:
                image.verify()  # the checksums, which decoding does not look at
            with Image.open(io.BytesIO(png), formats=['PNG']) as image:
                label = np.asarray(image)
            if not lacks_end(png):
                return label
            found = ['cut off or damaged']
        except Exception:  # Pillow raises OSError, SyntaxError, ValueError and more
            found = ['cut off or damaged']
    for what in found:
        problems[what].append(name)
    return None


def _count(label: np.ndarray, ids: tuple[int, ...], name: str, problems: Problems) -> np.ndarray:
    """Count the pixels of each class, (19,) int64, and note values that are none."""
    counts = np.bincount(label.ravel(), minlength=256)
    wrong = set(np.flatnonzero(counts).tolist()) - set(ids)
    if 255 in wrong:
        problems['with the value 255, though every pixel needs a class'].append(name)
    if wrong - {255}:
        (others,) = VALUES.keys() - {ids}
        looks = f': these look like {VALUES[others]}, not {VALUES[ids]}' if max(wrong - {255}) <= max(others) else ''
        problems[f'with other values than {ALLOWED[ids]}{looks}'].append(name)
    return counts[list(ids)]
