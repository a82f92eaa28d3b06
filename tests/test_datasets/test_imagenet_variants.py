"""Which images and labels are taken, and what is said about folders that are not as they should be."""

import hashlib
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS

from mmrobust.corruptions import CORRUPTIONS
from mmrobust.datasets import ImageNetVariant
from mmrobust.datasets.corruption_sets import CORRUPTION_SETS
from mmrobust.datasets.imagenet_variants import OF_CORRUPTIONS, SUBSETS, VARIANTS, WNIDS, check_cells

IMAGENET_C_CELLS = CORRUPTION_SETS['imagenet-c'].cells
NUMBERS = tuple(map(str, range(1000)))


@pytest.fixture(scope='session')
def image(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('image') / 'image.png'
    assert cv2.imwrite(str(path), np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3))
    return path


@pytest.fixture
def fill(image):
    """Put an image in every class folder, and in the first class a second one; there are other files beside them."""

    def fill(root: Path, folders: tuple[str, ...], name: str = 'b.JPEG') -> Path:
        root.mkdir(parents=True)
        (root / 'README.txt').write_text('not an image')
        for folder in folders:
            (root / folder).mkdir()
            os.link(image, root / folder / name)
        os.link(image, root / folders[0] / 'a.png')
        (root / folders[0] / 'list.txt').write_text('not an image')
        return root

    return fill


def samples(dataset: ImageNetVariant) -> list[tuple[str, int]]:
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    return [(os.path.relpath(info['img_path'], dataset.data_root), info['gt_label']) for info in infos]


@pytest.mark.parametrize(
    ('variant', 'folders', 'labels'),
    [
        ('imagenet', WNIDS, range(1000)),
        ('imagenet-sketch', WNIDS, range(1000)),
        ('imagenet-v2', NUMBERS, range(1000)),
        ('imagenet-a', VARIANTS['imagenet-a'].folders, SUBSETS['imagenet-a']),
        ('imagenet-r', VARIANTS['imagenet-r'].folders, SUBSETS['imagenet-r']),
    ],
)
def test_labels_are_among_the_1000_classes(tmp_path, fill, variant, folders, labels):
    dataset = ImageNetVariant(fill(tmp_path / 'data', folders), variant, expected_images=len(folders) + 1)
    found = samples(dataset)
    assert found[:2] == [(f'{folders[0]}/a.png', labels[0]), (f'{folders[0]}/b.JPEG', labels[0])]
    assert found[1:] == [(f'{folder}/b.JPEG', label) for folder, label in zip(folders, labels, strict=True)]
    assert len(dataset.metainfo['classes']) == 1000
    assert dataset.metainfo['subset'] == (tuple(labels) if len(folders) == 200 else None)


def test_folders_of_v2_are_sorted_as_integers(tmp_path, fill):
    dataset = ImageNetVariant(fill(tmp_path / 'data', NUMBERS), 'imagenet-v2', expected_images=1001)
    assert dataset.get_data_info(11)['img_path'].endswith('/10/b.JPEG') and dataset.get_data_info(11)['gt_label'] == 10


def test_order_is_not_that_of_the_disk(tmp_path, fill, monkeypatch):
    fill(tmp_path / 'data', VARIANTS['imagenet-a'].folders)
    found = samples(ImageNetVariant(tmp_path / 'data', 'imagenet-a', expected_images=201))
    scandir = os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path: sorted(scandir(path), key=lambda entry: entry.name, reverse=True))
    assert samples(ImageNetVariant(tmp_path / 'data', 'imagenet-a', expected_images=201)) == found


def test_imagenet_c(tmp_path, fill):
    for corruption, severity in (('fog', 3), ('fog', 4), ('spatter', 1)):
        fill(tmp_path / 'c' / corruption / str(severity), WNIDS, f'{corruption}{severity}.JPEG')
    for corruption, severity in (('fog', 4), ('spatter', 1)):
        dataset = ImageNetVariant(tmp_path / 'c', 'imagenet-c', corruption, severity, expected_images=1001)
        found = samples(dataset)
        folder = f'{corruption}/{severity}'
        assert found[0] == (f'{folder}/n01440764/a.png', 0)
        assert found[1000] == (f'{folder}/n15075141/{corruption}{severity}.JPEG', 999)
        assert dataset.metainfo['subset'] is None


def test_in_a_config_of_mmpretrain(tmp_path, fill):
    """Built from the root registry; corrupted on the way; with the loader and the packing of a config."""
    pipeline = [dict(type='LoadImageFromFile'), dict(type='mmpretrain.PackInputs')]
    config = dict(
        type='mmrobust.ImageNetVariant',
        data_root=str(fill(tmp_path / 'data', VARIANTS['imagenet-r'].folders)),
        variant='imagenet-r',
        expected_images=201,
        pipeline=pipeline,
        indices=3,
    )
    dataset = DATASETS.build(config)
    item = dataset[2]
    assert len(dataset) == 3 and item['inputs'].shape == (3, 4, 5)
    assert item['data_samples'].gt_label.tolist() == [SUBSETS['imagenet-r'][1]]
    wrapped = dict(type='mmrobust.CorruptedDataset', corruption='fog', severity=1, dataset=config)
    assert [type(step).__name__ for step in DATASETS.build(wrapped).pipeline.transforms][1] == 'Corrupt'


def test_published_numbers_of_images(tmp_path, fill):
    assert {name: variant.num_images for name, variant in VARIANTS.items()} == {
        'imagenet': 50000,
        'imagenet-v2': 10000,
        'imagenet-a': 7500,
        'imagenet-r': 30000,
        'imagenet-sketch': 50889,
        'imagenet-c': 50000,
        'imagenet-c-bar': 50000,
        'imagenet-3dcc': 50000,
    }
    fill(tmp_path / 'data', VARIANTS['imagenet-a'].folders)
    sentence = (
        f'^ImageNet-A in {tmp_path}/data has 201 images, not the expected 7500: download and unpack imagenet-a.tar '
        r'from https://\S+, or set expected_images for a smaller set of your own\.$'
    )
    with pytest.raises(ValueError, match=sentence):
        ImageNetVariant(tmp_path / 'data', 'imagenet-a')


@pytest.mark.parametrize('variant', [name for name in VARIANTS if name not in OF_CORRUPTIONS])
def test_no_folder_says_where_to_get_it(tmp_path, monkeypatch, variant):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as info:
        ImageNetVariant('data', variant)
    title = VARIANTS[variant].title
    assert str(info.value).startswith(f'There is no {title} in {tmp_path}/data: download ')
    assert 'https://' in str(info.value) and '\n' not in str(info.value)
    ImageNetVariant('data', variant, lazy_init=True)


def test_other_class_folders(tmp_path, fill):
    fill(tmp_path / 'data', VARIANTS['imagenet-r'].folders)
    with pytest.raises(
        ValueError, match=r'data has 200 class folders, not the expected 1000: 800 missing \(n01440764,'
    ):
        ImageNetVariant(tmp_path / 'data', 'imagenet')
    with pytest.raises(ValueError, match=r'not the expected 200: 114 missing \(.*\) and 114 unexpected \('):
        ImageNetVariant(tmp_path / 'data', 'imagenet-a')
    with pytest.raises(ValueError, match=r'200 class folders, .* 1000 missing \(0, 1, 2, \.\.\.\) and 200 unexpected'):
        ImageNetVariant(tmp_path / 'data', 'imagenet-v2')
    (tmp_path / 'data/n1').mkdir()
    with pytest.raises(ValueError, match=r'has 201 class folders, not the expected 200: 1 unexpected \(n1\): '):
        ImageNetVariant(tmp_path / 'data', 'imagenet-r')
    (tmp_path / 'data/n1').rmdir()
    shutil.rmtree(tmp_path / 'data/n01443537')
    with pytest.raises(ValueError, match=r'has 199 class folders, not the expected 200: 1 missing \(n01443537\): '):
        ImageNetVariant(tmp_path / 'data', 'imagenet-r')


def test_images_without_class_folders(tmp_path, image):
    (tmp_path / 'val').mkdir()
    os.link(image, tmp_path / 'val/ILSVRC2012_val_00000001.JPEG')
    with pytest.raises(ValueError, match=r'has 0 class folders, .* sort its images into one folder per wnid\.$'):
        ImageNetVariant(tmp_path / 'val', 'imagenet')


def test_a_class_without_images(tmp_path, fill):
    fill(tmp_path / 'data', VARIANTS['imagenet-a'].folders)
    (tmp_path / 'data/n01498041/b.JPEG').rename(tmp_path / 'data/n01498041/b.txt')
    assert len(ImageNetVariant(tmp_path / 'data', 'imagenet-a', expected_images=200)) == 200  # a.png is left
    (tmp_path / 'data/n01531178/b.JPEG').unlink()
    with pytest.raises(ValueError, match=r'data has no file \*\.jpg in 1 of 200 class folders \(n01531178\): d'):
        ImageNetVariant(tmp_path / 'data', 'imagenet-a', expected_images=199)


def test_an_imagenet_c_that_is_not_complete(tmp_path, fill):
    fill(tmp_path / 'c/fog/1', WNIDS)
    where = f'in {tmp_path}/c'
    with pytest.raises(ValueError, match=rf'^ImageNet-C {where}/fog/1 has 1001 images, not the expected 50000: unpack'):
        ImageNetVariant(tmp_path / 'c', 'imagenet-c', 'fog', 1)
    shutil.rmtree(tmp_path / 'c/fog/1/n01440764')
    sentence = (
        rf'999 class folders, not the expected 1000: 1 missing \(n01440764\): unpack weather.tar of \S+ {where}\.$'
    )
    with pytest.raises(ValueError, match=sentence):
        ImageNetVariant(tmp_path / 'c', 'imagenet-c', 'fog', 1)
    with pytest.raises(
        FileNotFoundError, match=rf'^There is no ImageNet-C fog/2 {where}: unpack weather.tar of https://'
    ):
        ImageNetVariant(tmp_path / 'c', 'imagenet-c', 'fog', 2)
    with pytest.raises(FileNotFoundError, match=rf'ImageNet-C spatter/2 {where}: unpack extra.tar of https://'):
        ImageNetVariant(tmp_path / 'c', 'imagenet-c', 'spatter', 2)


def test_all_of_imagenet_c_is_checked_at_once(tmp_path):
    assert len(set(IMAGENET_C_CELLS)) == 75 and {name for name, _ in IMAGENET_C_CELLS} == set(list(CORRUPTIONS)[:15])
    for corruption, severity in IMAGENET_C_CELLS:
        (tmp_path / corruption / str(severity)).mkdir(parents=True)
    check_cells('imagenet-c', tmp_path, IMAGENET_C_CELLS)
    (tmp_path / 'pixelate/5').rmdir()
    with pytest.raises(
        FileNotFoundError, match=rf'^There is no ImageNet-C pixelate/5 in {tmp_path}: unpack digital.tar'
    ):
        check_cells('imagenet-c', tmp_path, IMAGENET_C_CELLS)
    shutil.rmtree(tmp_path / 'snow')
    sentence = r'snow/1, snow/2, snow/3, snow/4, snow/5 and 1 more in .*: unpack weather.tar, digital.tar of'
    with pytest.raises(FileNotFoundError, match=sentence):
        check_cells('imagenet-c', tmp_path, IMAGENET_C_CELLS)
    check_cells('imagenet-c', tmp_path, [('fog', 1)])


@pytest.mark.parametrize(
    ('arguments', 'kind', 'sentence'),
    [
        (dict(variant='imagenet-o'), ValueError, "one of imagenet, imagenet-v2, .*, got 'imagenet-o'"),
        (
            dict(variant='imagenet-a', corruption='fog'),
            ValueError,
            'only imagenet-c, imagenet-c-bar, imagenet-3dcc have a corruption',
        ),
        (
            dict(variant='imagenet', severity=1),
            ValueError,
            'only imagenet-c, imagenet-c-bar, imagenet-3dcc have a corruption',
        ),
        (dict(variant='imagenet-c'), ValueError, 'corruption must be one of .*, got None'),
        (dict(variant='imagenet-c', corruption='fog', severity=6), ValueError, '1 to 5, got 6'),
        (dict(variant='imagenet-c', corruption='fog'), TypeError, '1 to 5, got None'),
        (dict(variant='imagenet', data_prefix='val'), TypeError, 'takes no data_prefix: remove it'),
    ],
)
def test_wrong_arguments_are_refused_before_files_are_looked_for(tmp_path, arguments, kind, sentence):
    with pytest.raises(kind, match=sentence):
        ImageNetVariant(tmp_path / 'none', lazy_init=True, **arguments)


# sha256 of the comma-joined indices and wnids
HASHES = {
    'imagenet-a': (
        '973e8c3e530bf5dbd49999d046e74084ba5184ab98036b42b111d8dcdecf1015',
        'b42e81c12a300300b184e87ddfbb7ea60d94501d0403fe80727f25839866db80',
    ),
    'imagenet-r': (
        'a1d9a9ace3098120f5db861d97049116efe80683f4e48c65a62f9bd30fc3366a',
        '98ce4fd873b9b46b5761d21549c019aa8ce0047775b0e4ff3822336b2762b476',
    ),
}


def sha256(values):
    return hashlib.sha256(','.join(map(str, values)).encode()).hexdigest()


def test_1000_classes():
    assert len(set(WNIDS)) == 1000 and list(WNIDS) == sorted(WNIDS)
    assert sha256(WNIDS) == '858fd8cc1983d57f3a05012a7aacf30415a430b1efb5bd17284bb3282160c0d5'


@pytest.mark.parametrize('subset', SUBSETS)
def test_subset(subset):
    indices, wnids = SUBSETS[subset], VARIANTS[subset].folders
    assert len(set(indices)) == len(wnids) == 200
    assert list(indices) == sorted(indices) and list(wnids) == sorted(wnids)
    assert (sha256(indices), sha256(wnids)) == HASHES[subset]


def test_the_subsets_share_86_classes():
    assert len(set(SUBSETS['imagenet-a']) & set(SUBSETS['imagenet-r'])) == 86


def test_equals_timm():
    info = Path(pytest.importorskip('timm.data').__file__).parent / '_info'
    assert list(WNIDS) == (info / 'imagenet_synsets.txt').read_text().split()
    for subset in SUBSETS:
        name = subset.replace('-', '_')
        assert list(VARIANTS[subset].folders) == (info / f'{name}_synsets.txt').read_text().split()
        assert list(map(str, SUBSETS[subset])) == (info / f'{name}_indices.txt').read_text().split()
