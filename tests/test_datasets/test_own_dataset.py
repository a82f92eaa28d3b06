"""The data sets of one's own in docs/how-to/own_dataset.md: their files as printed, with the tools, on small images."""

import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from PIL import Image

import mmrobust.datasets  # noqa: F401 (registers the loaders)
from mmrobust.datasets.labels import MOST, check_labels
from mmrobust.evaluation.images import LabelMapImages
from tests.tiny_segmentation import REPO, TINY_SEGMENTATION
from tests.tool_loading import load_tool

LOAD = [dict(type='mmrobust.LoadImageFromFile'), dict(type='mmrobust.LoadAnnotations')]
MODULE, SEGMENTATION, CLASSIFICATION = re.findall(
    '```python\n(.*?)```', next((REPO / 'docs').rglob('own_dataset.md')).read_text(), re.S
)


def write(folder: Path, values: list[int], split: str = 'train') -> None:
    for kind, array in (('', np.full((60, 80, 3), 90, np.uint8)), ('annot', np.resize(values, (60, 80)))):
        (folder / f'{split}{kind}').mkdir(parents=True, exist_ok=True)
        for name in 'abc':
            assert cv2.imwrite(str(folder / f'{split}{kind}' / f'{name}.png'), array.astype(np.uint8))


def dataset(folder: Path, kind: str = 'BaseSegDataset', split: str = 'train', **settings) -> dict:
    prefix = dict(img_path=str(folder / split), seg_map_path=str(folder / f'{split}annot'))
    return dict(dict(type=kind, data_prefix=prefix, pipeline=LOAD, img_suffix='.png') | settings)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The two files of the page, with a small network and small images."""
    (tmp_path / 'camvid.py').write_text(MODULE)
    (tmp_path / 'tiny.py').write_text(TINY_SEGMENTATION)
    config = SEGMENTATION.replace('mmrobust::fan_tap_adl_minicity.py', './tiny.py')
    config = config.replace('data/camvid', str(tmp_path / 'data')).replace('(256, 352)', '(32, 64)')
    (tmp_path / 'own.py').write_text(config.replace('(480, 360)', '(80, 60)'))
    monkeypatch.syspath_prepend(tmp_path)
    for split in ('train', 'val', 'test'):
        write(tmp_path / 'data', [*range(12)], split)
    yield tmp_path
    sys.modules.pop('camvid', None)
    DATASETS.module_dict.pop('CamVid', None)


def train(example: Path, run: str, iters: int, *options: str, settings: tuple[str, ...] = ()) -> dict:
    settings = [f'train_cfg.max_iters={iters}', 'train_cfg.val_interval=4', *settings]
    settings += ['default_hooks.checkpoint.interval=2', 'train_dataloader.batch_size=2']
    settings += [f'{split}_dataloader.num_workers=0' for split in ('train', 'val')]
    load_tool('train.py').main(
        [str(example / 'own.py'), '--work-dir', str(example / run), *options, '--cfg-options', *settings]
    )
    return torch.load(example / run / f'iter_{iters}.pth', weights_only=False)['state_dict']


def refused(capsys, run, *args, **kwargs) -> str:
    """The sentence with which a tool ends."""
    with pytest.raises(SystemExit) as stopped:
        run(*args, **kwargs)
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_it_trains_and_resumes_exactly_and_is_tested_corrupted_and_shown(example):
    whole = train(example, 'whole', 4)
    (example / 'part').mkdir()
    (example / 'part/iter_2.pth').write_bytes((example / 'whole/iter_2.pth').read_bytes())
    resumed = train(example, 'part', 4, '--resume')
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    config, checkpoint = str(example / 'own.py'), str(example / 'part/iter_4.pth')
    data = DATASETS.build(Config.fromfile(config).test_dataloader.dataset)
    assert sorted(np.unique(data[0]['data_samples'].gt_sem_seg.data)) == [*range(11), 255]

    out = ['--out', str(example / 'metrics.json')]
    load_tool('test.py').main([config, checkpoint, '--work-dir', str(example / 'test'), *out])
    settings = ['--corruptions', 'gaussian_noise', '--severities', '5', '--num-workers', '0']
    load_tool('evaluate_robustness.py').main([config, checkpoint, *settings, '--out', str(example / 'results')])
    results = json.loads((example / 'results/results.json').read_text())
    assert results['classes'] == SEGMENTATION.split("classes = '")[1].split("'")[0].split()
    # both count the same, because every class is in every label
    tested = json.loads((example / 'metrics.json').read_text())['mIoU']
    assert results['results']['clean_mIoU'] == pytest.approx(tested, abs=0.006)
    load_tool('analysis_tools/visualize_attention.py').main(
        ['--model', 'FAN', config, checkpoint, '--num-images', '1', '--out', str(example / 'attention')]
    )
    assert (example / 'attention/maps_by_layer.png').stat().st_size > 10_000


def test_a_wrong_label_is_named_before_the_first_step(example, capsys):
    """One of the validation images, which are looked at after thousands of iterations."""
    write(example / 'data', [*range(12), 30], 'val')
    sentence = refused(capsys, train, example, 'run', 2)
    assert re.search(r'annot/[abc].png has the values 30, but only 0 to 11 and 255 .*name a class for every', sentence)
    assert not list((example / 'run').glob('*.pth'))


def test_a_wrong_label_is_named_before_an_evaluation(example, capsys):
    write(example / 'data', [*range(12), 30], 'test')
    sentence = refused(capsys, load_tool('evaluate_robustness.py').main, [str(example / 'own.py')])
    assert re.search(r'testannot/a.png has the values 30, but only 0 to 11 and 255', sentence)


def test_a_wrong_label_is_named_where_the_images_are_looked_at(example, capsys):
    browse, argv = (
        load_tool('misc/browse_dataset.py').main,
        [str(example / 'own.py'), '--output-dir', str(example / 'o')],
    )
    browse([*argv, '--number', '2'])
    assert f'2 of 3 images, with their labels: {example / "o"}' in capsys.readouterr().out
    write(example / 'data', [*range(12), 30])
    assert 'trainannot/a.png has the values 30' in refused(capsys, browse, argv)


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'train_dataloader.dataset.img_suffix': '.jpg'}, 'CamVid must have images, got none in .*train that ends in'),
        ({'val_dataloader.dataset.img_suffix': '.jpg'}, 'CamVid must have images, got none in .*val that ends in .jpg'),
        ({'train_dataloader.dataset.seg_map_suffix': '_L.png'}, 'no label .*a_L.png of the image .*seg_map_suffix'),
        ({'train_dataloader.dataset.ignore_index': 11}, 'ignore_index of .*Head must be .* the data set, 11, got 255'),
        (
            {'val_dataloader.dataset.ignore_index': 11, 'model.decode_head.ignore_index': 11},
            'ignore_index of IoUMetric must be ignore_index of the data set, 11, got 255',
        ),
        (
            {'train_dataloader.dataset.ignore_index': 11, 'model.decode_head.ignore_index': 11}
            | {'val_evaluator.ignore_index': 11},
            'seg_pad_val of SegDataPreProcessor must be ignore_index of the data set, 11, got 255',
        ),
    ],
)
def test_what_does_not_fit_is_said_before_the_first_step(example, capsys, settings, sentence):
    given = tuple(f'{key}={value}' for key, value in settings.items())
    assert re.search(sentence, refused(capsys, train, example, 'run', 2, settings=given))


@pytest.mark.parametrize(
    ('kind', 'metainfo', 'values', 'wrong'),
    [
        ('BaseSegDataset', dict(classes=['a', 'b']), [0, 1, 255], None),
        ('BaseSegDataset', dict(classes=['a', 'b']), [0, 2], '2, but only 0 to 1 and 255'),
        ('BaseSegDataset', {}, [0, 77], None),  # it names no classes
        ('ADE20KDataset', None, [0, 150], None),  # 0 is ignored there
        ('ADE20KDataset', None, [151], '151, but only 0 to 150 and 255'),
    ],
)
@pytest.mark.parametrize('loads', ['mmrobust.LoadAnnotations', 'LoadAnnotations'])
@pytest.mark.parametrize(
    'wrap', [lambda one: one, lambda one: ConcatDataset([one, one]), lambda one: RepeatDataset(one, 2)]
)
def test_every_dataset_of_mmsegmentation_is_checked(tmp_path, kind, metainfo, values, wrong, loads, wrap):
    write(tmp_path, values)
    own = dataset(tmp_path, kind, metainfo=metainfo, pipeline=[LOAD[0], dict(type=loads)])
    data = wrap(DATASETS.build(own))
    check = (lambda: data[0], lambda: check_labels(data))
    if wrong is None:
        assert check[0]()['gt_seg_map'].shape == (60, 80)
        check[1]()
    else:
        for one in check:
            with pytest.raises(ValueError, match=f'annot/a.png has the values {wrong}'):
                one()


@pytest.mark.parametrize('loads', ['mmrobust.LoadAnnotations', 'LoadAnnotations'])
def test_kinds_of_label_files(tmp_path, loads):
    label = np.resize(np.array([0, 1, 2, 255], np.uint8), (60, 80))
    write(tmp_path, [0])
    palette = Image.fromarray(label, mode='P')
    palette.putpalette([*range(256)] * 3)
    for name in 'abc':
        palette.save(tmp_path / f'trainannot/{name}.png')
        np.save(tmp_path / f'trainannot/{name}.npy', label.astype(np.int64))
        assert cv2.imwrite(str(tmp_path / f'trainannot/{name}.tif'), label.astype(np.uint16))
    settings = dict(metainfo=dict(classes=['x', 'y', 'z']), pipeline=[LOAD[0], dict(type=loads)])
    for suffix in ('.png', '.npy', '.tif'):
        data = DATASETS.build(dataset(tmp_path, seg_map_suffix=suffix, **settings))
        found = data[0]['gt_seg_map']
        np.testing.assert_array_equal(found, label)
        assert found.dtype == np.uint8
    np.save(tmp_path / 'trainannot/a.npy', label.astype(np.int64) + 256)
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / 'trainannot/a.png')
    for suffix, sentence in (('.npy', 'a.npy has the values 256, 257'), ('.png', 'a.png must have .* colours must be')):
        with pytest.raises(ValueError, match=sentence):
            DATASETS.build(dataset(tmp_path, seg_map_suffix=suffix, **settings))[0]


def test_only_the_dataset_says_whether_0_is_ignored(tmp_path):
    write(tmp_path, [0, 1, 2])
    step = dict(type='mmrobust.LoadAnnotations', reduce_zero_label=True)
    settings = dict(metainfo=dict(classes=['a', 'b']), pipeline=[LOAD[0], step])
    data = DATASETS.build(dataset(tmp_path, reduce_zero_label=True, **settings))
    assert sorted(np.unique(data[0]['gt_seg_map'])) == [0, 1, 255]
    with pytest.raises(ValueError, match=r"must be the dataset's, False, got True: say it in the dataset"):
        DATASETS.build(dataset(tmp_path, **settings))[0]


def test_the_labels_that_are_checked(tmp_path, monkeypatch):
    """All of few, spread ones of many, those of an evaluation only, and broken ones only where they are not skipped."""
    write(tmp_path, [0])
    data = DATASETS.build(dataset(tmp_path, metainfo=dict(classes=['a'])))
    seen = []
    monkeypatch.setattr(BaseSegDataset, '__len__', lambda self: 2 * MOST)
    monkeypatch.setattr(BaseSegDataset, 'get_data_info', lambda self, index: seen.append(index) or {})
    check_labels(data)
    assert sorted(seen) == [*range(0, 2 * MOST, 2)]
    seen.clear()
    check_labels(data, [1, 2])
    assert sorted(seen) == [1, 2]
    monkeypatch.setattr('mmrobust.datasets.labels.get_dist_info', lambda: (1, 4))
    seen.clear()
    check_labels(data, range(10))
    assert sorted(seen) == [1, 5, 9]
    monkeypatch.undo()
    (tmp_path / 'trainannot/a.png').write_bytes((tmp_path / 'trainannot/a.png').read_bytes()[:-20])
    with pytest.raises(ValueError, match=r'a\.png .* is broken'):
        check_labels(data)
    data.on_corrupt = 'skip'
    check_labels(data)


def test_images_of_an_evaluation_are_there_and_labelled(tmp_path):
    write(tmp_path, [0])
    own = dataset(tmp_path, metainfo=dict(classes=['a', 'b']))
    assert LabelMapImages(own, 'mmseg').size == 3
    with pytest.raises(ValueError, match='BaseSegDataset must have images, got none in'):
        LabelMapImages(own | dict(img_suffix='.jpg'), 'mmseg')
    write(tmp_path, [7])
    with pytest.raises(ValueError, match=r'a\.png has the values 7'):
        LabelMapImages(own, 'mmseg')


def test_classification_trains_and_is_corrupted(tmp_path, monkeypatch):
    for split, count in (('train', 11), ('val', 1)):
        for shade, name in enumerate(('daisy', 'rose', 'tulip')):
            (tmp_path / 'data' / split / name).mkdir(parents=True)
            for index in range(count):
                image = np.full((40, 56, 3), 40 + 60 * shade + index, np.uint8)
                assert cv2.imwrite(str(tmp_path / 'data' / split / name / f'{index}.jpg'), image)
    config = CLASSIFICATION.replace('mmrobust::', f'{REPO}/configs/').replace('data/flowers', str(tmp_path / 'data'))
    (tmp_path / 'own.py').write_text(config.replace('=128', '=32').replace('=146', '=36'))
    arguments = [str(tmp_path / 'own.py'), '--work-dir', str(tmp_path / 'run'), '--cfg-options']
    arguments += ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'model.backbone.arch.depth=1']
    arguments += ['model.backbone.arch.feature_blocks=[0]']
    load_tool('train.py').main([*arguments, 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0'])
    settings = ['--benchmark', 'imagenet-c', '--corruptions', 'fog', '--severities', '3', '--num-workers', '0']
    options = ['--cfg-options', *arguments[-2:]]
    load_tool('evaluate_robustness.py').main(
        [arguments[0], str(tmp_path / 'run/epoch_1.pth'), *settings, '--out', str(tmp_path / 'results'), *options]
    )
    results = json.loads((tmp_path / 'results/results.json').read_text())
    assert results['provenance']['num_images'] == 3 and results['results']['mCE'] is None
    assert set(results['results']['cells']) == {'fog_3'}
