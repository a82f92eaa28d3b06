"""Folders of images with strange names, and files that are no images: found, or refused in a sentence."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mmrobust.datasets import CityscapesDataset, ImageFolder
from mmrobust.datasets.acdc import find_images
from mmrobust.datasets.transforms import Corrupt, LoadAnnotations, LoadImageFromFile
from mmrobust.datasets.transforms.load_corrupted import path_in_copy
from tests.test_fuzz.examples import examples

LONGEST = 255  # bytes of a file's name on Linux
SUFFIXES = ('.png', '.jpg', '.JPEG')
PNG = cv2.imencode('.png', np.full((4, 6, 3), 7, np.uint8))[1].tobytes()
LABEL = cv2.imencode('.png', np.zeros((4, 6), np.uint8))[1].tobytes()


def names(room: int) -> st.SearchStrategy[str]:
    """File names of any characters, also bytes that are no UTF-8, up to the longest that leaves ``room`` bytes."""
    letters = st.characters(exclude_categories=['Cs'], exclude_characters='/\0')
    room = LONGEST - room
    odd = [
        '<script>"&\'',
        '\N{SNOWMAN}' * (room // 3),
        'a' * room,
        'b\xe9',
        'be\u0301',
        os.fsdecode(b'\xff\xfe'),
        'a\nb',
    ]
    odd += ['*', '%s', '{}', '~', '..a', 'a\\b', 'a.png', 'a_leftImg8bit.png', '-rf', '\x1b[31m', 'CON', ' ']
    found = st.one_of(st.sampled_from(odd), st.text(letters, min_size=1, max_size=30))
    return found.filter(lambda name: name not in ('.', '..') and len(os.fsencode(name)) <= room)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@examples(25, 700)
@given(
    classes=st.dictionaries(
        names(0),
        st.lists(st.tuples(names(5), st.sampled_from(SUFFIXES)), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    )
)
def test_image_folder(classes):
    classes = {name: {first + end for first, end in files} for name, files in classes.items()}
    with TemporaryDirectory() as root:
        for name, files in classes.items():
            for file in files:
                write(Path(root, name, file), PNG)
        # what begins with a dot is hidden
        shown = {name: {file for file in files if file[0] != '.'} for name, files in classes.items() if name[0] != '.'}
        try:
            dataset = ImageFolder(root)
        except ValueError as error:
            assert (not shown or not all(shown.values())) and 'class folders' in str(error)
            return
        found = [dataset.get_data_info(index) for index in range(len(dataset))]
        expected = [
            (os.path.join(root, name, file), label)
            for label, name in enumerate(sorted(shown))
            for file in sorted(shown[name])
        ]
        assert [(one['img_path'], one['gt_label']) for one in found] == expected
        assert tuple(sorted(shown)) == dataset.CLASSES
        for one in found:
            assert (LoadImageFromFile()(one)['img'] == 7).all()


@examples(25, 500)
@given(cities=st.dictionaries(names(0), st.sets(names(25), min_size=1, max_size=2), min_size=1, max_size=2))
def test_cityscapes(cities):
    images = {(city, name) for city, files in cities.items() for name in files if city[0] != '.' and name[0] != '.'}
    assume(images)
    with TemporaryDirectory() as root:
        for city, name in images:
            write(Path(root, 'leftImg8bit/val', city, f'{name}_leftImg8bit.png'), PNG)
            write(Path(root, 'gtFine/val', city, f'{name}_gtFine_labelTrainIds.png'), LABEL)
        dataset = CityscapesDataset(
            data_root=root,
            data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
            pipeline=[dict(type='mmrobust.LoadImageFromFile'), dict(type='mmrobust.LoadAnnotations')],
        )
        samples = [dataset[index] for index in range(len(dataset))]
        found = {tuple(os.path.relpath(one['img_path'], root).split(os.sep)[2:]) for one in samples}
        assert found == {(city, f'{name}_leftImg8bit.png') for city, name in images}
        assert all(not one['gt_seg_map'].any() for one in samples)


@examples(25, 500)
@given(
    sequences=st.dictionaries(names(0), st.sets(names(14), min_size=1, max_size=2), min_size=1, max_size=2),
    condition=st.sampled_from(['fog', 'night']),
)
def test_acdc(sequences, condition):
    files = {
        f'{sequence}/{name}_rgb_anon.png'
        for sequence, names_of in sequences.items()
        for name in names_of
        if sequence[0] != '.' and name[0] != '.' and '_ref' not in sequence
    }
    assume(files)
    with TemporaryDirectory() as root:
        for file in files:
            write(Path(root, 'rgb_anon', condition, 'val', file), PNG)
        found = find_images(root, 'val', [condition])
        assert {os.path.relpath(one.path, f'{root}/rgb_anon/{condition}/val') for one in found} == files
        assert {one.condition for one in found} == {condition}


@examples(30, 1000)
@given(root=names(0), parts=st.lists(st.one_of(names(0), st.just('..')), min_size=1, max_size=4))
def test_a_copy_lies_in_its_folder(root, parts):
    path = os.path.join('/data', root, *parts)
    inside = f'{os.path.normpath(path)}/'.startswith(f'/data/{root}/')
    try:
        found = path_in_copy('/copy', Corrupt('fog', 3, f'/data/{root}'), path)
    except ValueError as error:
        assert not inside and 'must lie below data_root' in str(error)
    else:
        assert (
            inside and os.path.normpath(found) == found and found.startswith('/copy/fog/3/') and found.endswith('.png')
        )


@st.composite
def files(draw):
    """Bytes of an image of any size and number type, perhaps cut off or changed, or of no image."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    channels = draw(st.sampled_from([1, 3, 4]))
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    end = draw(st.sampled_from(['.png', '.jpg', '.tiff', '.webp']))
    image = np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, 256, (height, width, channels)).astype(dtype)
    if end in ('.jpg', '.webp'):
        image = image[..., :3].astype(np.uint8)
    content = cv2.imencode(end, image)[1].tobytes()
    kind = draw(st.sampled_from(['whole', 'cut', 'changed', 'bytes']))
    if kind == 'bytes':
        return draw(st.binary(max_size=60)), None
    place = draw(st.integers(0, len(content) - 1))
    if kind == 'cut':
        return content[:place], None
    if kind == 'changed':
        return content[:place] + draw(st.binary(min_size=1, max_size=2)) + content[place + 1 :], None
    return content, (height, width)


@examples(60, 1500)
@given(file=files())
def test_files_that_may_be_no_image(tmp_path, file):
    content, size = file
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    try:
        image = LoadImageFromFile()({'img_path': str(path)})['img']
    except ValueError as error:
        assert size is None and str(path) in str(error) and len(str(error).splitlines()) == 1
    else:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        assert size is None or image.shape[:2] == size


@pytest.mark.filterwarnings('ignore::UserWarning')  # of Pillow, about damaged TIFF
@examples(60, 1000)
@given(file=files(), num_classes=st.integers(1, 19), same=st.booleans())
def test_files_that_may_be_no_label(tmp_path, file, num_classes, same):
    content, size = file
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    shape = size if same and size else (4, 4)
    sample = dict(seg_map_path=str(path), ori_shape=shape, num_classes=num_classes, ignore_index=255, seg_fields=[])
    try:
        label = LoadAnnotations()(sample)['gt_seg_map']
    except ValueError as error:
        assert str(path) in str(error) and len(str(error).splitlines()) == 1
    else:
        assert label.dtype == np.uint8 and label.shape == shape
        assert ((label < num_classes) | (label == 255)).all()
