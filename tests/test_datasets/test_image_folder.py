"""Which images and labels an image folder has, what is said about one that is incomplete, and its samplers."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATASETS
from mmpretrain.datasets import RepeatAugSampler

from mmrobust.datasets import ImageFolder, SeededEpochSampler, SeededIndex, SeededRepeatAugSampler


@pytest.fixture
def root(tmp_path) -> Path:
    """Three classes, one with two images, and other files beside them."""
    root = tmp_path / 'train'
    for number, name in enumerate(('cat/b.png', 'cat/a.png', 'ant/x.png', 'dog/sub/y.png')):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.full((12, 10, 3), 60 * number, np.uint8))
    (root / 'README.txt').write_text('not an image')
    (root / 'cat' / 'list.txt').write_text('not an image')
    return root


def test_classes_are_the_sorted_folders(root):
    dataset = ImageFolder(str(root), expected_classes=3)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    found = [(str(Path(info['img_path']).relative_to(root)), info['gt_label']) for info in infos]
    assert found == [('ant/x.png', 0), ('cat/a.png', 1), ('cat/b.png', 1), ('dog/sub/y.png', 2)]
    assert dataset.CLASSES == ('ant', 'cat', 'dog')
    assert ImageFolder(root, metainfo=dict(classes=('a', 'c', 'd'))).CLASSES == ('a', 'c', 'd')


def _labels(dataset):
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    return {Path(info['img_path']).stem: info['gt_label'] for info in infos}


def test_labels_follow_the_classes_that_are_given(root):
    """Not the order of the folders under names in another order."""
    dataset = ImageFolder(str(root), metainfo=dict(classes=['dog', 'ant', 'cat']))
    assert dataset.CLASSES == ('dog', 'ant', 'cat') and _labels(dataset) == {'y': 0, 'x': 1, 'a': 2, 'b': 2}
    declared = ImageFolder(str(root), metainfo=dict(subset=[9, 7, 8]))
    assert declared.CLASSES == ('ant', 'cat', 'dog') and _labels(declared) == {'x': 9, 'a': 7, 'b': 7, 'y': 8}


@pytest.mark.parametrize(
    ('metainfo', 'sentence'),
    [
        (dict(classes=['ant', 'cat']), r'metainfo\.classes must be one for each of the 3 class folders .* got 2 \(2 '),
        (dict(classes=['ant', 'cat', 'cat']), r'got 3 \(2 different\)'),
        (dict(classes=['ant', 'cat', 'wolf']), r'any order, or all be other names, got wolf, for which there is no'),
        (dict(subset=[1, 2]), r'metainfo\.subset must be one for each of the 3 class folders .* got 2 '),
    ],
)
def test_classes_that_are_not_the_folders(root, metainfo, sentence):
    with pytest.raises(ValueError, match=sentence):
        ImageFolder(str(root), metainfo=metainfo)


def test_samples_depend_on_their_seed_only(root):
    pipeline = [
        dict(type='mmrobust.LoadImageFromFile'),
        dict(type='mmpretrain.RandomErasing', erase_prob=1.0, mode='rand'),
    ]
    dataset = DATASETS.build(dict(type='mmrobust.ImageFolder', data_root=str(root), pipeline=pipeline))
    first, again, other = (dataset[SeededIndex(0, seed)]['img'] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'There is no image folder in .*none: .*docs/how-to/datasets\.md'):
        ImageFolder(str(tmp_path / 'none'))


def test_a_class_that_is_missing(root):
    with pytest.raises(ValueError, match=r'has 3 class folders, not the expected 1000: .* set expected_classes'):
        ImageFolder(str(root), expected_classes=1000)


def test_a_folder_without_classes(root):
    with pytest.raises(ValueError, match='has 0 class folders, not the expected one or more'):
        ImageFolder(str(root / 'ant'))


def test_a_class_without_images(root):
    (root / 'bee').mkdir()
    with pytest.raises(ValueError, match=r'no file \*\.jpg in 1 of 4 class folders \(bee\)'):
        ImageFolder(str(root))


def test_it_is_found_by_data_root_alone(root):
    with pytest.raises(TypeError, match='takes no data_prefix'):
        ImageFolder(str(root), data_prefix='train')


@pytest.mark.parametrize(
    ('seeded', 'plain', 'kwargs'),
    [
        (SeededEpochSampler, DefaultSampler, {}),
        (SeededRepeatAugSampler, RepeatAugSampler, dict(num_repeats=3)),
    ],
)
def test_samplers_keep_the_order_and_add_seeds(root, seeded, plain, kwargs):
    dataset = ImageFolder(str(root))
    sampler, reference = seeded(dataset, seed=5, **kwargs), plain(dataset, seed=5, **kwargs)
    seeds = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        reference.set_epoch(epoch)
        samples = list(sampler)
        assert [sample.index for sample in samples] == list(reference)
        assert samples == list(sampler)  # a resumed run sees the same
        seeds += [sample.seed for sample in samples]
    assert len(set(seeds)) == len(seeds) == 3 * len(sampler)
    sampler.reseed(6)
    assert not {sample.seed for sample in sampler} & set(seeds)


@pytest.mark.parametrize('seeded', [SeededEpochSampler, SeededRepeatAugSampler])
def test_ranks_have_seeds_of_their_own(root, monkeypatch, seeded):
    dataset, seeds = ImageFolder(str(root)), []
    for rank in range(2):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        monkeypatch.setattr('mmpretrain.datasets.samplers.repeat_aug.get_dist_info', lambda rank=rank: (rank, 2))
        seeds += [sample.seed for sample in seeded(dataset, seed=0)]
    assert len(set(seeds)) == len(seeds) == 4


def test_samplers_refuse_a_dataset_without_the_mix_in():
    with pytest.raises(TypeError, match=r'dataset must be a torch.utils.data.Dataset, got list'):
        SeededEpochSampler([1, 2])


def test_hidden_folders_are_no_classes(root):
    """Such as those that Jupyter and macOS leave behind, whose images would shift all labels."""
    for name in ('.ipynb_checkpoints/a.png', '.empty/list.txt', 'cat/.ipynb_checkpoints/a.png', 'dog/.x/sub/y.png'):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes((root / 'cat/a.png').read_bytes())
    dataset = ImageFolder(str(root), expected_classes=3)
    assert dataset.CLASSES == ('ant', 'cat', 'dog') and len(dataset) == 4


def test_all_kinds_of_images_are_read_and_others_are_named(root):
    image = cv2.imread(str(root / 'cat/a.png'))
    for suffix in ('webp', 'TIFF', 'tif', 'bmp', 'jpg'):
        assert cv2.imwrite(str(root / f'ant/x.{suffix}'), image)
    (root / 'dog/sub/x.heic').touch()
    with pytest.warns(
        UserWarning, match=r'2 files such as cat/list.txt are left out, they end in none of .jpg, .*webp'
    ):
        dataset = ImageFolder(str(root), pipeline=[dict(type='mmrobust.LoadImageFromFile')])
    assert len(dataset) == 9
    assert all(dataset[index]['img'].shape == (12, 10, 3) for index in range(9))
