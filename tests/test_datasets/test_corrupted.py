"""A dataset with corrupted images: on the fly and from a copy on disk it is the same."""

import copy
import json
import re
import threading
import time

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config, ConfigDict
from mmengine.dataset import ClassBalancedDataset
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner

from mmrobust.corruptions import corrupt
from mmrobust.datasets import CityscapesDataset, corrupted_dataset
from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from mmrobust.datasets.transforms import Corrupt, LoadCorruptedImageFromFile
from mmrobust.datasets.transforms.load_corrupted import path_in_copy
from mmrobust.randomness import derive_seed
from tests.tool_loading import load_tool

COPY = load_tool('dataset_converters/corrupted_copy.py')
NOISE = dict(corruption='gaussian_noise', severity=3, seed=5, profile='bgr')


def cityscapes(root, **replaced) -> dict:
    return dict(
        type='CityscapesDataset',  # MMSegmentation's own
        data_root=str(root),
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')],
        **replaced,
    )


def write_copy(out, root, images, corruption, severity, seed, profile) -> str:
    COPY.start_copy(str(out), seed, profile)
    for image in images:
        COPY.write_image(str(out), Corrupt(corruption, severity, str(root), seed, profile), str(image))
    return str(out)


@pytest.fixture(scope='module')
def minicity(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'minicity'
    write_minicity(root, MiniCityParams(num_train=1, num_val=3, num_acdc=0, size=(64, 32)))
    return root


@pytest.fixture(scope='module')
def on_disk(minicity, tmp_path_factory):
    images = sorted(minicity.glob('leftImg8bit/val/*/*.png'))
    return write_copy(tmp_path_factory.mktemp('copy'), minicity, images, **NOISE)


def test_of_two_copies_that_start_at_once_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('os.fsync', lambda _: time.sleep(0.001))  # so that the two meet
    barrier, refused = threading.Barrier(2), []

    def start(folder, seed):
        barrier.wait()
        try:
            COPY.start_copy(str(folder), seed, 'rgb')
        except ValueError:
            refused.append(folder)

    folders = [tmp_path / str(index) for index in range(30)]
    for folder in folders:
        threads = [threading.Thread(target=start, args=(folder, seed)) for seed in (0, 1)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert refused == folders


def test_on_the_fly_is_the_corruption_of_the_loaded_image(minicity):
    clean = DATASETS.build(cityscapes(minicity))
    corrupted = DATASETS.build(dict(type='mmrobust.CorruptedDataset', dataset=cityscapes(minicity), **NOISE))
    assert type(corrupted) is type(clean) and len(corrupted) == 3
    for before, after in zip(clean, corrupted, strict=True):
        name = before['data_samples'].img_path.removeprefix(f'{minicity}/')
        rng = np.random.default_rng(derive_seed(5, 'gaussian_noise', 3, name))
        rgb = cv2.imread(before['data_samples'].img_path)[..., ::-1]
        expected = corrupt(np.ascontiguousarray(rgb), 'gaussian_noise', 3, rng, 'bgr')[..., ::-1]
        assert np.array_equal(after['inputs'].permute(1, 2, 0), expected)
        assert (after['data_samples'].gt_sem_seg.data == before['data_samples'].gt_sem_seg.data).all()


@pytest.mark.parametrize('spelling', ['{parent}/minicity', '{parent}/minicity/', 'minicity', './minicity/'])
def test_from_disk_is_the_same_as_on_the_fly(minicity, on_disk, monkeypatch, spelling):
    expected = list(corrupted_dataset(cityscapes(minicity), **NOISE))
    monkeypatch.chdir(minicity.parent)
    root = spelling.format(parent=minicity.parent)
    clean = list(DATASETS.build(cityscapes(root)))
    for source in (None, on_disk):
        found = list(corrupted_dataset(cityscapes(root), **NOISE, corrupted_root=source))
        for one, other, untouched in zip(expected, found, clean, strict=True):
            assert (one['inputs'] == other['inputs']).all()
            assert not (one['inputs'] == untouched['inputs']).all()
            assert other['data_samples'].metainfo == untouched['data_samples'].metainfo  # with the clean path
            assert (other['data_samples'].gt_sem_seg.data == untouched['data_samples'].gt_sem_seg.data).all()


@pytest.mark.parametrize('num_workers', [0, 2])
def test_through_the_runner(minicity, on_disk, num_workers):
    def images(source):
        dataset = dict(type='mmrobust.CorruptedDataset', dataset=cityscapes(minicity), corrupted_root=source, **NOISE)
        sampler = dict(type='DefaultSampler', shuffle=False)
        loader = Config(dict(batch_size=2, num_workers=num_workers, sampler=sampler, dataset=dataset))
        return np.concatenate([np.stack(batch['inputs']) for batch in Runner.build_dataloader(loader, seed=0)])

    assert len(images(None)) == 3
    assert np.array_equal(images(None), images(on_disk))


def test_a_dataset_of_our_own_keeps_its_class(minicity):
    assert isinstance(
        corrupted_dataset(cityscapes(minicity) | {'type': 'mmrobust.CityscapesDataset'}, 'fog', 1), CityscapesDataset
    )


def test_mmpretrain(tmp_path):
    rng = np.random.default_rng(0)
    images = [tmp_path / 'images' / folder / 'a.jpg' for folder in ('cat', 'dog')]
    for image in images:
        image.parent.mkdir(parents=True)
        cv2.imwrite(str(image), rng.integers(0, 256, (40, 36, 3), dtype=np.uint8))
    config = dict(
        type='CustomDataset',
        data_root=str(tmp_path / 'images'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )
    out = write_copy(tmp_path / 'out', tmp_path / 'images', images, 'shot_noise', 2, 0, 'rgb')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        clean = list(DATASETS.build(config))
        wrapped = dict(type='mmrobust.CorruptedDataset', dataset=config, corruption='shot_noise', severity=2)
        on_the_fly = list(DATASETS.build(wrapped))
        from_disk = list(DATASETS.build(wrapped | {'corrupted_root': out}))
    for before, one, other in zip(clean, on_the_fly, from_disk, strict=True):
        assert (one['inputs'] == other['inputs']).all()
        assert not (one['inputs'] == before['inputs']).all()
        assert other['data_samples'].img_path == before['data_samples'].img_path
        assert other['data_samples'].gt_label == before['data_samples'].gt_label


@pytest.mark.parametrize('make', [dict, ConfigDict])
@pytest.mark.parametrize('from_disk', [False, True])
def test_the_callers_config_stays(minicity, on_disk, make, from_disk):
    config = make(cityscapes(minicity))
    before = copy.deepcopy(config)
    corrupted_dataset(config, **NOISE, corrupted_root=on_disk if from_disk else None)
    assert config == before


def test_loading_by_any_name_and_with_its_options(minicity, on_disk):
    expected = [sample['inputs'] for sample in corrupted_dataset(cityscapes(minicity), **NOISE)]
    for kind in ('LoadImageFromFile', 'mmcv.LoadImageFromFile', 'mmrobust.LoadImageFromFile', LoadImageFromFile):
        config = cityscapes(minicity)
        config['pipeline'][0] = dict(type=kind)
        found = corrupted_dataset(config, **NOISE)
        assert all((one == sample['inputs']).all() for one, sample in zip(expected, found, strict=True))
    config['pipeline'][0] = dict(type='LoadImageFromFile', to_float32=True)
    assert corrupted_dataset(config, **NOISE, corrupted_root=on_disk)[0]['inputs'].dtype.is_floating_point


@pytest.mark.parametrize('steps', [[], ['LoadAnnotations', 'PackSegInputs']])
def test_pipeline_without_loading(minicity, steps):
    config = cityscapes(minicity) | {'pipeline': [dict(type=step) for step in steps]}
    with pytest.raises(ValueError, match=re.escape(f'must have LoadImageFromFile, got {steps}')):
        corrupted_dataset(config, 'fog', 1)


@pytest.mark.parametrize('from_disk', [False, True])
@pytest.mark.parametrize(
    ('wrong', 'kind', 'message'),
    [
        (dict(corruption='dust'), ValueError, "'dust'"),
        (dict(severity=6), ValueError, '1 to 5, got 6'),
        (dict(severity='3'), TypeError, "1 to 5, got '3'"),
        (dict(profile='gbr'), ValueError, 'gbr'),
    ],
)
def test_bad_arguments(minicity, on_disk, from_disk, wrong, kind, message):
    with pytest.raises(kind, match=message):
        corrupted_dataset(cityscapes(minicity), **NOISE | wrong, corrupted_root=on_disk if from_disk else None)


@pytest.mark.parametrize(
    ('asked', 'message'),
    [
        (dict(seed=6), 'seed 5 there, 6 asked for'),
        (dict(profile='rgb'), "profile 'bgr' there, 'rgb' asked for"),
        (dict(seed=0, profile='rgb'), "seed 5 there, 0 asked for; profile 'bgr' there, 'rgb' asked for"),
    ],
)
def test_a_copy_of_other_pixels_is_refused_with_both_values(minicity, on_disk, asked, message):
    with pytest.raises(ValueError, match=message):
        corrupted_dataset(cityscapes(minicity), **NOISE | asked, corrupted_root=on_disk)


def test_a_copy_of_another_format_or_a_damaged_one(minicity, tmp_path):
    manifest = tmp_path / 'corrupted.json'
    manifest.write_text(json.dumps({'format': 0, 'seed': 5, 'profile': 'bgr'}))
    with pytest.raises(ValueError, match='format 0 there, 1 asked for'):
        corrupted_dataset(cityscapes(minicity), **NOISE, corrupted_root=str(tmp_path))
    for content in ('{"format": 1, "se', '7', ''):
        manifest.write_text(content)
        with pytest.raises(ValueError, match=rf'{manifest} is damaged'):
            corrupted_dataset(cityscapes(minicity), **NOISE, corrupted_root=str(tmp_path))


def test_no_copy_says_what_writes_it(minicity, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=rf'no {tmp_path}/corrupted\.json.*tools/dataset_converters/cityscapes_c'
    ):
        corrupted_dataset(cityscapes(minicity), **NOISE, corrupted_root=str(tmp_path))


@pytest.mark.parametrize('ignore_empty', [False, True])
def test_an_image_that_is_not_there_says_what_writes_it(minicity, on_disk, ignore_empty):
    """With ``ignore_empty`` too: another image in its place would be a wrong result."""
    config = cityscapes(minicity)
    config['pipeline'][0]['ignore_empty'] = ignore_empty
    dataset = corrupted_dataset(config, **NOISE | {'severity': 4}, corrupted_root=on_disk)
    with pytest.raises(FileNotFoundError) as info:
        dataset[0]
    clean = dataset.get_data_info(0)['img_path']
    assert f'There is no {on_disk}/gaussian_noise/4{clean.removeprefix(str(minicity))}: ' in str(info.value)
    assert (
        f'`python tools/dataset_converters/cityscapes_c.py {minicity} {on_disk} --corruptions gaussian_noise '
        '--severities 4 --seed 5 --profile bgr`'
    ) in str(info.value)


def test_images_of_one_stem_do_not_collide(tmp_path):
    rng = np.random.default_rng(0)
    root, out = tmp_path / 'images', tmp_path / 'out'
    root.mkdir()
    images = [root / 'a.jpg', root / 'a.png', root / 'a.PNG']
    for image in images:
        cv2.imwrite(str(image), rng.integers(0, 256, (40, 36, 3), dtype=np.uint8))
    write_copy(out, root, images, 'fog', 1, 0, 'rgb')
    assert sorted(path.name for path in (out / 'fog/1').iterdir()) == ['a.PNG.png', 'a.jpg.png', 'a.png']
    load = LoadCorruptedImageFromFile(str(out), 'fog', 1, str(root))
    on_the_fly = Corrupt('fog', 1, str(root))
    for image in images:
        expected = on_the_fly({'img': cv2.imread(str(image)), 'img_path': str(image)})['img']
        assert np.array_equal(load({'img_path': str(image)})['img'], expected)


def test_a_copy_needs_the_folder_of_the_clean_images(minicity, on_disk):
    config = cityscapes(minicity)
    config['data_root'] = None
    config['data_prefix'] = dict(img_path=f'{minicity}/leftImg8bit/val', seg_map_path=f'{minicity}/gtFine/val')
    with pytest.raises(ValueError, match='needs the data_root of the clean ones, got None'):
        corrupted_dataset(config, **NOISE, corrupted_root=on_disk)
    config['data_root'] = f'{minicity}/gtFine'
    with pytest.raises(ValueError, match=rf'must lie below data_root {minicity}/gtFine'):
        corrupted_dataset(config, **NOISE, corrupted_root=on_disk)[0]
    with pytest.raises(ValueError, match='must lie below data_root /data/a'):
        path_in_copy('/copy', Corrupt('fog', 1, '/data/a'), '/data/a/..')


def test_a_broken_copy_is_named(minicity, tmp_path):
    image = sorted(minicity.glob('leftImg8bit/val/*/*.png'))[0]
    out = write_copy(tmp_path, minicity, [image], **NOISE)
    [written] = tmp_path.rglob('*.png')
    written.write_bytes(written.read_bytes()[:-50])
    with pytest.raises(ValueError, match=rf'image {written} .* is broken'):
        corrupted_dataset(cityscapes(minicity), **NOISE, corrupted_root=out)[0]


@pytest.mark.parametrize(
    'wrapper',
    [
        dict(type='ConcatDataset', datasets=[{}, {}]),
        dict(type='RepeatDataset', times=2, dataset={}),
        dict(type=ClassBalancedDataset, dataset={}, oversample_thr=0.5),
        dict(type='mmrobust.CorruptedDataset', dataset={}, corruption='fog', severity=1),
    ],
)
def test_a_wrapper_is_refused(wrapper):
    with pytest.raises(ValueError, match=r'a pipeline of its own here, got \w+: write a config for each dataset in it'):
        corrupted_dataset(wrapper, 'fog', 1)
