"""Images of both tasks, taken out of a config that may be thinned out already."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope

from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from mmrobust.evaluation.images import LabelledImages, LabelMapImages, evenly, fingerprint


@pytest.fixture(scope='module')
def configs(tmp_path_factory):
    """A data set of six images for each kind."""
    root = tmp_path_factory.mktemp('images')
    write_minicity(root / 'minicity', MiniCityParams(num_train=1, num_val=6, num_acdc=0, size=(64, 32)))
    for index in range(6):
        path = root / f'classes/class_{index % 2}/{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    prefix = dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val')
    return {
        LabelMapImages: dict(type='mmseg.CityscapesDataset', data_root=str(root / 'minicity'), data_prefix=prefix),
        LabelledImages: dict(type='mmpretrain.CustomDataset', data_root=str(root / 'classes')),
    }


def _paths(config):
    with DefaultScope.overwrite_default_scope('mmengine'):
        built = DATASETS.build(config)
    return [built.get_data_info(index)['img_path'] for index in range(len(built))]


@pytest.mark.parametrize('kind', [LabelMapImages, LabelledImages])
@pytest.mark.parametrize(
    ('indices', 'max_images', 'expected'),
    [
        (None, None, [0, 1, 2, 3, 4, 5]),
        (None, 3, [0, 2, 5]),
        (None, 9, [0, 1, 2, 3, 4, 5]),
        ([5, 1, 3, 2], None, [5, 1, 3, 2]),
        ([5, 1, 3, 2], 2, [5, 2]),  # of the four of the config, not of all six
        (4, 2, [0, 3]),
        (-4, 2, [2, 5]),
    ],
)
def test_what_is_left(configs, kind, indices, max_images, expected):
    given = configs[kind] if indices is None else dict(configs[kind], indices=indices)
    before = dict(given)
    images = kind(given, 'mmengine', max_images)
    every = _paths(configs[kind])
    assert _paths(images.dataset) == [every[index] for index in expected]
    assert images.size == len(expected) and given == before
    if kind is LabelMapImages:
        assert images.names == [images.name(every[index]) for index in expected]
        assert _paths(images.only(images.names[-1])) == [every[expected[-1]]]


@pytest.mark.parametrize('kind', [LabelMapImages, LabelledImages])
def test_names_are_below_the_data_root(configs, kind):
    images = kind(configs[kind], 'mmengine')
    path = _paths(configs[kind])[0]
    assert images.name(path) == path.removeprefix(f'{configs[kind]["data_root"]}/')


@pytest.mark.parametrize('kind', [LabelMapImages, LabelledImages])
def test_a_fingerprint_is_of_names_files_and_labels(configs, kind, tmp_path):
    """And not of the place."""
    root = configs[kind]['data_root']
    given = dict(configs[kind], data_root=str(tmp_path / 'copy'))
    expected = kind(configs[kind], 'mmengine').fingerprint
    assert kind(configs[kind], 'mmengine', 3).fingerprint != expected
    label = sorted(Path(root).rglob('val/*/*labelTrainIds.png' if kind is LabelMapImages else '1.png'))[0]
    changes = [
        lambda: None,
        lambda: place.write_bytes(place.read_bytes()[:-1] + b'?'),  # as long as before
        lambda: place.write_bytes(place.read_bytes() + b'?'),
        lambda: place.unlink(),
    ]
    for change in changes:
        shutil.copytree(root, tmp_path / 'copy')
        place = tmp_path / 'copy' / label.relative_to(root)
        change()
        assert (kind(given, 'mmengine').fingerprint == expected) is (change is changes[0])
        shutil.rmtree(tmp_path / 'copy')


def test_a_fingerprint_is_of_classes(configs, tmp_path):
    found = []
    for label in (0, 1):
        (tmp_path / 'labels.txt').write_text(f'class_0/0.png {label}\nclass_1/1.png 1\n')
        given = dict(configs[LabelledImages], ann_file=str(tmp_path / 'labels.txt'), classes=['a', 'b'])
        found.append(LabelledImages(given, 'mmengine').fingerprint)
    assert found[0] != found[1]


def test_images_without_labels(configs):
    with pytest.raises(ValueError, match=r'the images must have labels, but .*0\.png has none'):
        LabelledImages(dict(configs[LabelledImages], with_label=False, classes=['a', 'b']), 'mmengine')
    with pytest.raises(ValueError, match='the data set CustomDataset must name its classes'):
        LabelledImages(dict(configs[LabelledImages], with_label=False), 'mmengine')


def test_large_files_are_sampled(tmp_path):
    path, found = tmp_path / 'a.bmp', set()
    for place in (0, 50_000, 99_999, None):
        content = bytearray(100_000)
        if place is not None:
            content[place] = 1
        path.write_bytes(content)
        found.add(fingerprint([('a', [str(path)])]))
    assert len(found) == 4


def test_evenly():
    assert evenly(10, None) == evenly(10, 10) == evenly(10, 11) == list(range(10))
    assert evenly(10, 4) == [0, 3, 6, 9] and evenly(10, 1) == [0]
    with pytest.raises(ValueError, match='max_images must be 1 or more, got 0'):
        evenly(10, 0)
