"""Broken images and wrong labels never become training samples."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations as MMSegLoadAnnotations
from PIL import Image

from mmrobust.datasets.transforms import LoadAnnotations, LoadImageFromFile
from mmrobust.datasets.transforms.loading import BrokenImageError

HEIGHT, WIDTH = 40, 64


class Original(MMSegLoadAnnotations):
    """MMSegmentation's step as it is without this package, which makes it check."""

    _load_seg_map = MMSegLoadAnnotations._load_seg_map.__wrapped__


@pytest.fixture
def pixels() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 2)


def save(path: Path, array: np.ndarray) -> str:
    assert cv2.imwrite(str(path), array)
    return str(path)


def load_label(path: str, transform: type = LoadAnnotations, backend: str = 'pillow', **results) -> np.ndarray:
    sample = {
        'seg_map_path': path,
        'seg_fields': [],
        'ori_shape': (HEIGHT, WIDTH),
        'num_classes': 19,
        'ignore_index': 255,
        'reduce_zero_label': False,
        'label_map': None,
    } | results
    return transform(imdecode_backend=backend)(sample)['gt_seg_map']


def labels(*values: int) -> np.ndarray:
    return np.resize(np.array(values, np.uint8), (HEIGHT, WIDTH))


def test_whole_image(tmp_path, pixels):
    sample = LoadImageFromFile()({'img_path': save(tmp_path / 'a.png', pixels)})
    np.testing.assert_array_equal(sample['img'], pixels)
    assert sample['img_shape'] == sample['ori_shape'] == (HEIGHT, WIDTH)
    assert LoadImageFromFile(to_float32=True)({'img_path': str(tmp_path / 'a.png')})['img'].dtype == np.float32


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('lost', [0.999, 0.5, 2])
def test_truncated_image(tmp_path, pixels, suffix, backend, lost):
    path = tmp_path / f'a{suffix}'
    save(path, pixels)
    content = path.read_bytes()
    path.write_bytes(content[: -lost if lost == 2 else int(len(content) * (1 - lost))])
    with pytest.raises(ValueError, match=rf'^The image .*a{suffix} \(\d+ bytes\) is broken: ') as info:
        LoadImageFromFile(imdecode_backend=backend)({'img_path': str(path)})
    assert '\n' not in str(info.value)


def test_thumbnail_does_not_hide_that_the_end_is_missing(tmp_path, pixels):
    """A JPEG in the header has an end marker too."""
    image, thumbnail = Image.fromarray(pixels), io.BytesIO()
    image.resize((8, 8)).save(thumbnail, 'JPEG')
    path = tmp_path / 'a.jpg'
    image.save(path, comment=thumbnail.getvalue())
    assert LoadImageFromFile()({'img_path': str(path)})['img'].shape == (HEIGHT, WIDTH, 3)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match='it is a JPEG without its end'):
        LoadImageFromFile()({'img_path': str(path)})


@pytest.mark.parametrize('options', [{}, {'progressive': True}, {'restart_marker_blocks': 2}, {'format': 'PNG'}])
def test_what_follows_the_end_of_an_image_does_not_count(tmp_path, pixels, options):
    """Of the film in a phone's photo, of a screenshot that was written over a larger one."""
    file, path = io.BytesIO(), tmp_path / 'a'
    Image.fromarray(pixels).save(file, **{'format': 'JPEG', **options})
    content, film = file.getvalue(), np.random.default_rng(0).bytes(5000)
    path.write_bytes(content)
    expected = LoadImageFromFile()({'img_path': str(path)})['img']
    for after in (film, b'\xff\xda' + film, content, b'\0', b'\xff\xd8\xff\xd9'):
        path.write_bytes(content + after)
        np.testing.assert_array_equal(LoadImageFromFile()({'img_path': str(path)})['img'], expected)
    for after in (b'', content):  # the whole image after it is not the end of a truncated one
        path.write_bytes(content[: int(len(content) * 0.7)] + after)
        with pytest.raises(BrokenImageError, match='is broken'):
            LoadImageFromFile()({'img_path': str(path)})


@pytest.mark.parametrize('content', [b'', b'no image'])
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_no_image_at_all(tmp_path, content, backend):
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'a\.png .* is broken') as info:
        LoadImageFromFile(imdecode_backend=backend)({'img_path': str(path)})
    assert '\n' not in str(info.value)
    assert LoadImageFromFile(imdecode_backend=backend, ignore_empty=True)({'img_path': str(path)}) is None


def test_missing_image(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'a\.png'):
        LoadImageFromFile()({'img_path': str(tmp_path / 'a.png')})


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('kind', ['grey', 'rgba', 'colour 16', 'grey 16'])
def test_other_depths_and_channels_become_8_bit_colour(tmp_path, pixels, kind, backend):
    deep = pixels.astype(np.uint16) * 257
    variants = {
        'grey': pixels[..., 0],
        'rgba': np.dstack([pixels, np.full((HEIGHT, WIDTH), 200, np.uint8)]),
        'colour 16': deep,
        'grey 16': deep[..., 0],
    }
    path = save(tmp_path / 'a.png', variants[kind])
    load = LoadImageFromFile(imdecode_backend=backend)
    if (kind, backend) == ('grey 16', 'pillow'):
        with pytest.raises(ValueError, match=r"16-bit .* use imdecode_backend='cv2'"):
            load({'img_path': path})
        return
    expected = np.repeat(pixels[..., :1], 3, axis=2) if 'grey' in kind else pixels
    got = load({'img_path': path})['img']
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)


def test_the_backend_is_asked_for_the_bytes(tmp_path, pixels):
    with pytest.raises(KeyError, match='no_such_backend'):
        LoadImageFromFile(backend_args={'backend': 'no_such_backend'})({'img_path': save(tmp_path / 'a.png', pixels)})


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_good_label(tmp_path, backend):
    label = labels(*range(19), 255)
    np.testing.assert_array_equal(load_label(save(tmp_path / 'a.png', label), backend=backend), label)


def test_palette_and_one_bit_labels(tmp_path):
    label = labels(0, 1)
    image = Image.fromarray(label, mode='P')
    image.putpalette([0, 0, 0, 200, 100, 0])
    image.save(tmp_path / 'p.png')
    Image.fromarray(label.astype(bool)).save(tmp_path / 'b.png')
    for name in ('p.png', 'b.png'):
        np.testing.assert_array_equal(load_label(str(tmp_path / name)), label)


def test_label_ids_instead_of_train_ids(tmp_path):
    path = save(tmp_path / 'a.png', labels(7, 26, 33, 0))
    with pytest.raises(ValueError, match=r'a\.png has the values 26, 33, but only 0 to 18 and 255 .*labelTrainIds'):
        load_label(path)
    np.testing.assert_array_equal(load_label(path, num_classes=34), labels(7, 26, 33, 0))


def test_many_wrong_values_are_cut_short(tmp_path):
    with pytest.raises(ValueError, match=r'values 100, .*, 109, \.\.\., but'):
        load_label(save(tmp_path / 'a.png', labels(*range(100, 150))))


def test_16_bit_labels_do_not_wrap_around(tmp_path):
    instances = labels(0).astype(np.uint16)
    instances[0] = 26 * 256 + 3  # would be class 3
    with pytest.raises(ValueError, match='has the values 6659, but'):
        load_label(save(tmp_path / 'a.png', instances))


@pytest.mark.parametrize(
    ('name', 'dtype', 'values', 'listed'),
    [
        ('a.png', np.uint16, (0, 1, 2, 259, 65535), '259, 65535'),
        ('a.tiff', np.int32, (0, 1, -1, 65537), '-1, 65537'),
        ('a.tiff', np.float32, (0, 1, 2.5, np.nan), '2.5, nan'),
    ],
)
def test_no_value_becomes_another_class(tmp_path, name, dtype, values, listed):
    """Of a data set that does not say how many classes it has."""
    label = np.resize(np.array(values, dtype), (40, 64))
    sample = {'seg_map_path': save(tmp_path / name, label), 'seg_fields': []}
    with pytest.raises(ValueError, match=f'{name} has the values {listed}, but only integers from 0 to 255'):
        LoadAnnotations()(dict(sample, seg_fields=[]))
    save(tmp_path / name, np.resize(np.array([0, 1, 2, 255], dtype), (40, 64)))
    found = LoadAnnotations()(dict(sample, seg_fields=[]))['gt_seg_map']
    assert found.dtype == np.uint8 and set(np.unique(found)) == {0, 1, 2, 255}


@pytest.mark.parametrize('channels', [3, 4])
def test_label_of_colours(tmp_path, channels):
    path = save(tmp_path / 'a.png', np.zeros((HEIGHT, WIDTH, channels), np.uint8))
    with pytest.raises(ValueError, match=rf'has \(40, 64, {channels}\): its colours must be made numbers of classes'):
        load_label(path)


def test_label_of_another_size(tmp_path):
    with pytest.raises(ValueError, match=r'shape of its image, \(40, 64\), but has \(20, 64\)'):
        load_label(save(tmp_path / 'a.png', labels(0)[:20]))


def test_coloured_label(tmp_path, pixels):
    with pytest.raises(ValueError, match=r'but has \(40, 64, 3\)'):
        load_label(save(tmp_path / 'a.png', pixels))


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_truncated_label(tmp_path, backend):
    path = Path(save(tmp_path / 'a.png', labels(*range(19))))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r'a\.png .* is broken: it is a PNG without its end'):
        load_label(str(path), backend=backend)


def test_without_the_number_of_classes_values_are_not_judged(tmp_path):
    sample = {'seg_map_path': save(tmp_path / 'a.png', labels(77)), 'seg_fields': []}
    assert LoadAnnotations()(sample)['gt_seg_map'].max() == 77


@pytest.mark.parametrize(
    'results',
    [
        {'reduce_zero_label': True},
        {'label_map': {0: 255, 1: 0, 2: 1, 5: 255}},
        {'reduce_zero_label': True, 'label_map': {0: 4, 4: 0}},
    ],
)
def test_renumbering_is_that_of_mmseg(tmp_path, results):
    path = save(tmp_path / 'a.png', labels(*range(20), 255) if 'reduce_zero_label' in results else labels(*range(19)))
    np.testing.assert_array_equal(load_label(path, **results), load_label(path, Original, **results))
