"""A model whose outputs are not the classes of the data is refused, with both lists."""

import pytest
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from torch import nn

from mmrobust.classes import check_classes, classes_of_config, classes_of_meta, num_outputs
from mmrobust.datasets.imagenet_variants import WNIDS

DIGITS = [str(digit) for digit in range(10)]


@pytest.mark.parametrize(
    ('outputs', 'data', 'trained', 'more'),
    [
        (10, DIGITS, DIGITS, {}),
        (10, DIGITS, None, {}),
        (None, DIGITS, DIGITS, {}),
        (10, range(10), [*DIGITS[:9], 'nine'], {'class_map': {'nine': 9}}),
        (1000, IMAGENET_CATEGORIES, WNIDS, {}),  # shipped configs train on folders of wnids
        (1000, WNIDS, IMAGENET_CATEGORIES, {'subset': (6, 11)}),  # the labels are among all outputs
        (1000, ['dog', 'cat'], IMAGENET_CATEGORIES, {'subset': (207, 281)}),
        (21843, WNIDS, None, {'subset': range(1000)}),
        (3, ['road', 'person', 'car'], ['road', 'pedestrian', 'car'], {'class_map': {'pedestrian': 'person'}}),
        (2, ['American black bear, Ursus americanus', 'b'], ['American black bear, Ursus americans', 'b'], {}),
    ],
)
def test_fit(outputs, data, trained, more):
    check_classes(outputs, data, trained, **more)


@pytest.mark.parametrize(
    ('outputs', 'data', 'trained', 'more', 'sentence'),
    [
        (21843, IMAGENET_CATEGORIES, None, {}, r"got 21843 outputs and 1000 classes \('tench', 'goldfish', "),
        (
            4,
            DIGITS,
            list('abcd'),
            {},
            r"got 4 outputs \('a', 'b', 'c', 'd'\) and 10 classes \('0', '1', '2', '3', ...",
        ),
        (
            10,
            [*DIGITS[:3], *DIGITS[4:], 'three'],
            DIGITS,
            {},
            r"10 \('0', '1', '2', '3', ...\), got 10 \('0', '1', '2', '4', ...\), where class 3 is '4' instead of '3'",
        ),
        (None, DIGITS, DIGITS[:9], {}, "where class 9 is '9' instead of nothing"),
        (10, DIGITS[::-1], DIGITS, {}, "where class 0 is '9' instead of '0'"),
        (1000, ['dog', 'cat'], None, {'subset': (207, 1000)}, 'got 1000 outputs and 2 classes'),
        (200, IMAGENET_CATEGORIES, None, {'subset': range(200)}, 'got 200 outputs and 1000 classes'),
        (2, ['a', 'b'], ['a', 'c'], {'class_map': {'d': 'b'}}, r"classes of the model \('a', 'c'\), got 'd'"),
        (2, ['a', 'b'], ['a', '\x1b[2J' * 99], {}, r"instead of '\\x1b\[2J"),
    ],
)
def test_refused(outputs, data, trained, more, sentence):
    with pytest.raises(ValueError, match=sentence) as info:
        check_classes(outputs, data, trained, **more)
    assert '\x1b' not in str(info.value) and len(str(info.value)) < 600


def test_number_of_outputs():
    class Part(nn.Module):
        def __init__(self, **parts):
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

    assert num_outputs(Part(num_classes=4)) == 4
    assert num_outputs(Part(module=Part(head=Part(num_classes=7)))) == 7
    assert num_outputs(Part(model=Part(num_classes=21843))) == 21843
    assert num_outputs(Part(backbone=Part(num_classes=3))) is None


def test_classes_in_a_checkpoint():
    assert classes_of_meta({'dataset_meta': {'classes': ['a', 'b'], 'palette': []}}) == ('a', 'b')
    assert classes_of_meta({'CLASSES': ('a', 'b')}) == ('a', 'b')
    assert classes_of_meta({'dataset_meta': None}) is classes_of_meta({}) is None


def test_classes_in_a_config():
    cityscapes = classes_of_config(dict(type='CityscapesDataset', data_root='nowhere'), 'mmseg')
    assert cityscapes[:2] == ('road', 'sidewalk') and len(cityscapes) == 19
    own = dict(type='BaseSegDataset', metainfo=dict(classes=['a', 'b']))
    assert classes_of_config(dict(type='RepeatDataset', times=2, dataset=own), 'mmseg') == ('a', 'b')
    assert classes_of_config(dict(type='CustomDataset', data_root='nowhere'), 'mmpretrain') is None
