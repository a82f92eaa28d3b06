"""Which files of ACDC are taken, in each layout, and what is said about a folder that is not as it should be."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.fileio import LocalBackend, register_backend
from mmseg.datasets import CityscapesDataset as MMSegCityscapesDataset

from mmrobust.datasets import ACDCDataset, SeededIndex
from mmrobust.datasets.acdc import CONDITIONS, conditions_known, find_images
from mmrobust.datasets.minicity import CONDITIONS as DRAWN_CONDITIONS
from mmrobust.datasets.minicity import MiniCityParams, write_minicity

ARCHIVES = ('rgb_anon_trainvaltest/rgb_anon', 'gt_trainval/gt')
PLAIN = ('rgb_anon', 'gt')
SEQUENCES = {'fog': 'GOPR0475', 'night': 'GOPR0351', 'rain': 'GOPR0400', 'snow': 'GP010607'}


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def fill(root: Path, split: str = 'val', folders: tuple[str, str] = PLAIN, merged: bool = False) -> None:
    """Two images of each condition with labels, and the files that must never be taken."""
    images, labels = folders
    image, label = np.zeros((2, 4, 3), np.uint8), np.full((2, 4), 18, np.uint8)
    for condition, sequence in SEQUENCES.items():
        parent = '' if merged else condition
        for frame in (2, 1):
            name = f'{sequence}/{sequence}_frame_{frame:06}'
            write(root / images / parent / split / f'{name}_rgb_anon.png', image)
            if split != 'test':
                write(root / labels / parent / split / f'{name}_gt_labelTrainIds.png', label)
                write(root / labels / parent / split / f'{name}_gt_labelIds.png', label)
            for references in (
                f'{split}_ref',
                f'{split}ref',
                f'{split}-ref',
                'ref',
                f'{split}/ref',
                f'{split}/Ref_{split}',
            ):
                # under both names: one that only the folder gives away is a reference as well
                write(root / images / parent / references / f'{name}_rgb_ref_anon.png', image)
                write(root / images / parent / references / f'{name}x_rgb_anon.png', image)
                write(root / labels / parent / references / f'{name}x_gt_labelTrainIds.png', label)
            write(root / images / parent / split / f'{name}_rgb_ref_anon.png', image)
            write(root / labels / parent / split / f'{name}_gt_ref_labelTrainIds.png', label)


def samples(dataset: ACDCDataset) -> list[dict]:
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def names(dataset: ACDCDataset) -> list[str]:
    return [Path(sample['img_path']).name.removesuffix('_rgb_anon.png') for sample in samples(dataset)]


def expected(conditions: tuple[str, ...] = CONDITIONS) -> list[str]:
    return [f'{SEQUENCES[name]}_frame_{frame:06}' for name in conditions for frame in (1, 2)]


@pytest.mark.parametrize('folders', [ARCHIVES, PLAIN, (ARCHIVES[0], 'gt'), ('rgb_anon', ARCHIVES[1])])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_folders_of_conditions(tmp_path, split, folders):
    for each in ('train', 'val'):
        fill(tmp_path, each, folders)
    dataset = ACDCDataset(str(tmp_path), split)
    assert names(dataset) == expected()
    assert [sample['condition'] for sample in samples(dataset)] == [name for name in CONDITIONS for _ in range(2)]
    for sample in samples(dataset):
        assert sample['img_path'].startswith(f'{tmp_path}/{folders[0]}/{sample["condition"]}/{split}/')
        image = sample['img_path'].replace(folders[0], folders[1], 1)
        assert sample['seg_map_path'] == image.replace('_rgb_anon.png', '_gt_labelTrainIds.png')
        assert (sample['num_classes'], sample['ignore_index'], sample['seg_fields']) == (19, 255, [])
        assert (sample['label_map'], sample['reduce_zero_label']) == (None, False)
    assert conditions_known(tmp_path, split)


def test_some_conditions_in_any_order(tmp_path):
    fill(tmp_path)
    dataset = ACDCDataset(tmp_path, conditions=['snow', 'fog'])
    assert names(dataset) == expected(('fog', 'snow'))
    assert {sample['condition'] for sample in samples(dataset)} == {'fog', 'snow'}


def test_order_is_not_that_of_the_disk(tmp_path, monkeypatch):
    fill(tmp_path)
    scandir = os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path: sorted(scandir(path), key=lambda entry: entry.name, reverse=True))
    assert names(ACDCDataset(tmp_path)) == expected()


@pytest.mark.parametrize('sequences', [True, False])
def test_merged_conditions(tmp_path, sequences):
    fill(tmp_path, merged=True)
    if not sequences:
        for path in [*tmp_path.glob('*/val/G*/*.png')]:
            path.rename(path.parents[1] / path.name)
    dataset = ACDCDataset(tmp_path)
    assert sorted(names(dataset)) == sorted(expected())
    assert {sample['condition'] for sample in samples(dataset)} == {None}
    assert all(Path(sample['seg_map_path']).is_file() for sample in samples(dataset))
    assert not conditions_known(tmp_path, 'val')


def test_merged_conditions_cannot_be_separated(tmp_path):
    fill(tmp_path, merged=True)
    with pytest.raises(ValueError, match=r'must be all of fog, night, rain, snow, got night: 8 of 8 .* that merge'):
        ACDCDataset(tmp_path, conditions=['night'])


def test_an_image_in_both_layouts_counts_once_with_its_condition(tmp_path):
    """What ``rsync rgb_anon/*/val/* rgb_anon/val/`` leaves, which is how the conditions are usually merged."""
    fill(tmp_path)
    fill(tmp_path, merged=True)
    fill(tmp_path, folders=ARCHIVES)
    dataset = ACDCDataset(tmp_path)
    assert names(dataset) == expected() and conditions_known(tmp_path, 'val')
    assert all(sample['img_path'].startswith(f'{tmp_path}/{ARCHIVES[0]}/') for sample in samples(dataset))
    assert names(ACDCDataset(tmp_path, conditions=['rain'])) == expected(('rain',))


def test_partly_merged(tmp_path):
    fill(tmp_path, merged=True)
    (tmp_path / 'rgb_anon/fog/val').mkdir(parents=True)
    shutil.move(tmp_path / 'rgb_anon/val/GOPR0475', tmp_path / 'rgb_anon/fog/val')
    dataset = ACDCDataset(tmp_path)
    assert sorted(names(dataset)) == sorted(expected())
    assert [sample['condition'] for sample in samples(dataset)] == ['fog'] * 2 + [None] * 6
    assert (
        samples(dataset)[0]['seg_map_path'] == f'{tmp_path}/gt/val/GOPR0475/GOPR0475_frame_000001_gt_labelTrainIds.png'
    )
    assert not conditions_known(tmp_path, 'val')
    with pytest.raises(ValueError, match='6 of 8 images'):
        ACDCDataset(tmp_path, conditions=['fog'])


def test_labels_of_merged_images_may_lie_by_condition(tmp_path):
    fill(tmp_path, merged=True)
    shutil.rmtree(tmp_path / 'gt')
    fill(tmp_path / 'other')
    shutil.move(tmp_path / 'other/gt', tmp_path / 'gt')
    for sample in samples(ACDCDataset(tmp_path)):
        sequence = Path(sample['img_path']).parent.name
        condition = {value: key for key, value in SEQUENCES.items()}[sequence]
        assert Path(sample['seg_map_path']).parent == tmp_path / 'gt' / condition / 'val' / sequence
    # The label of another condition under the same name: which of the two is right cannot be known.
    shutil.copytree(tmp_path / 'gt/fog/val/GOPR0475', tmp_path / 'gt/rain/val/GOPR0475')
    with pytest.raises(FileNotFoundError, match=r'^2 of 8 images have no label'):
        ACDCDataset(tmp_path)


def test_a_label_of_another_condition_is_not_taken(tmp_path):
    fill(tmp_path)
    shutil.move(tmp_path / 'gt/fog/val/GOPR0475', tmp_path / 'gt/rain/val/GOPR0475')
    with pytest.raises(FileNotFoundError, match=r'^2 of 8 images have no label .*/gt/fog/val/GOPR0475'):
        ACDCDataset(tmp_path)


@pytest.mark.parametrize('merged', [False, True])
def test_the_test_split_has_no_labels(tmp_path, merged):
    fill(tmp_path, 'test', merged=merged)
    dataset = ACDCDataset(tmp_path, 'test', test_mode=True)
    assert sorted(names(dataset)) == sorted(expected())
    assert not any('seg_map_path' in sample for sample in samples(dataset))


def test_classes_are_those_of_cityscapes(tmp_path):
    fill(tmp_path)
    dataset = ACDCDataset(tmp_path)
    assert dataset.metainfo['classes'] == MMSegCityscapesDataset.METAINFO['classes']
    assert dataset.metainfo['palette'] == MMSegCityscapesDataset.METAINFO['palette']
    fewer = ACDCDataset(tmp_path, metainfo=dict(classes=('car', 'road')))
    assert fewer[0]['label_map'][13] == 0 and fewer[0]['num_classes'] == 19


def test_arguments_of_mmseg(tmp_path):
    fill(tmp_path)
    assert len(ACDCDataset(tmp_path, indices=3)) == 3
    lazy = ACDCDataset(tmp_path / 'none', lazy_init=True)
    with pytest.raises(FileNotFoundError):
        lazy.full_init()
    with pytest.raises(TypeError, match=r'takes no data_prefix, img_suffix: remove it, with _delete_=True'):
        ACDCDataset(tmp_path, img_suffix='.png', data_prefix=dict(img_path='images'))


def test_images_go_through_a_pipeline(tmp_path):
    write_minicity(tmp_path / 'city', MiniCityParams(num_train=1, num_val=1, num_acdc=1, size=(64, 32)))
    pipeline = [
        dict(type='mmrobust.LoadImageFromFile'),
        dict(type='mmrobust.LoadAnnotations'),
        dict(type='mmseg.PhotoMetricDistortion'),
        dict(type='mmseg.PackSegInputs', meta_keys=('img_path', 'condition')),
    ]
    dataset = ACDCDataset(tmp_path / 'city/acdc', 'train', pipeline=pipeline)
    assert len(dataset) == 4
    item = dataset[SeededIndex(1, 5)]
    assert item['inputs'].shape == (3, 32, 64) and item['data_samples'].gt_sem_seg.data.shape == (1, 32, 64)
    assert item['data_samples'].condition == 'night' and '/night/train/' in item['data_samples'].img_path
    assert item['inputs'].equal(dataset[SeededIndex(1, 5)]['inputs'])
    assert not item['inputs'].equal(dataset[SeededIndex(1, 6)]['inputs'])


def test_minicity_draws_these_conditions():
    assert CONDITIONS == DRAWN_CONDITIONS


def test_no_root_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as info:
        ACDCDataset('data/acdc')
    for part in (
        f'There is no ACDC in {tmp_path}/data/acdc',
        'https://acdc.vision.ee.ethz.ch',
        'rgb_anon_trainvaltest.zip',
        'gt_trainval.zip',
        'python tools/dataset_converters/minicity.py',
        'data/minicity/acdc',
    ):
        assert part in str(info.value)
    assert '\n' not in str(info.value)


def test_no_image_says_what_was_looked_for(tmp_path):
    fill(tmp_path)
    shutil.rmtree(tmp_path / 'rgb_anon/night/val')  # its references stay
    with pytest.raises(ValueError, match=r"^There is no image of night in the split 'val'") as info:
        ACDCDataset(tmp_path, conditions=['rain', 'night'])
    for part in (
        str(tmp_path),
        'rgb_anon_trainvaltest/rgb_anon/<condition>/val/**/*_rgb_anon.png',
        ' rgb_anon/<condition>/val/**/*_rgb_anon.png',
        ' rgb_anon/val/**/*_rgb_anon.png',
        'rgb_anon_trainvaltest.zip is unzipped',
    ):
        assert part in str(info.value)
    assert names(ACDCDataset(tmp_path, conditions=['rain'])) == expected(('rain',))
    with pytest.raises(ValueError, match="of fog, night, rain, snow in the split 'train'"):
        ACDCDataset(tmp_path, 'train')


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (dict(split='val_ref'), "split must be one of train, val, test, got 'val_ref'"),
        (dict(conditions=['fog', 'mist']), r"some of fog, night, rain, snow, got \['fog', 'mist'\]"),
        (dict(conditions='fog'), "must be a list of .*, got 'fog'"),
        (dict(conditions=()), r'got \(\)'),
    ],
)
def test_unknown_names_are_refused_before_files_are_looked_for(tmp_path, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ACDCDataset(tmp_path / 'none', lazy_init=True, **arguments)
    with pytest.raises(ValueError, match=sentence):
        find_images(tmp_path / 'none', **dict(split='val') | arguments)


def test_missing_labels_are_counted_and_named(tmp_path):
    fill(tmp_path)
    for path in [
        *tmp_path.glob('gt/fog/val/**/*_labelTrainIds.png'),
        *tmp_path.glob('gt/snow/val/**/*_labelTrainIds.png'),
    ]:
        path.unlink()
    with pytest.raises(FileNotFoundError) as info:
        ACDCDataset(tmp_path)
    message = str(info.value)
    assert message.startswith(f'4 of 8 images have no label ({tmp_path}/gt/fog/val/GOPR0475/GOPR0475_frame_000001_gt_')
    assert message.count('_gt_labelTrainIds.png') == 3 and ', ...)' in message
    assert message.endswith(f'check that gt_trainval.zip is unzipped in {tmp_path}.')
    assert len(find_images(tmp_path, 'val')) == 8


def test_a_root_whose_name_says_ref_is_no_reference(tmp_path):
    fill(tmp_path / 'reference')
    assert names(ACDCDataset(tmp_path / 'reference')) == expected()


def test_storage_elsewhere(tmp_path):
    """Nothing but MMEngine's backend touches the files."""

    @register_backend('acdc_elsewhere', force=True)
    class Elsewhere(LocalBackend):
        def exists(self, filepath):
            return super().exists(filepath.replace('s3://bucket', str(tmp_path)))

        def list_dir_or_file(self, dir_path, *args, **kwargs):
            return super().list_dir_or_file(dir_path.replace('s3://bucket', str(tmp_path)), *args, **kwargs)

    fill(tmp_path)
    dataset = ACDCDataset('s3://bucket', backend_args=dict(backend='acdc_elsewhere'))
    assert names(dataset) == expected()
    assert samples(dataset)[0]['seg_map_path'].startswith('s3://bucket/gt/fog/val/GOPR0475/')
