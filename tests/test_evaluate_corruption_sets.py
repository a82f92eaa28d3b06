"""Published sets of corrupted images beside ImageNet-C, read from generated folders and files."""

import shutil

import cv2
import numpy as np
import pytest
import torch
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import CIFAR10_CATEGORIES
from mmpretrain.registry import DATASETS

import mmrobust
from mmrobust.attacks import pixel_logits
from mmrobust.corruptions import CORRUPTIONS
from mmrobust.datasets import CIFARC
from mmrobust.datasets.corruption_sets import CORRUPTION_SETS
from mmrobust.evaluation.benchmarks import benchmark_types
from mmrobust.evaluation.report import Report
from tests.test_evaluate_classification import (  # noqa: F401 (two are fixtures)
    CONFIG,
    _image,
    _model,
    _write_model,
    files,
    imagenet,
)

NUMBER, CLASSES = 6, 10
LABELS = np.arange(NUMBER) % CLASSES
SETTINGS = dict(device='cpu', num_workers=0, batch_size=4, quiet=True)


@DATASETS.register_module(force=True)
class InMemory(BaseDataset):
    """Images without files, RGB, as MMPretrain's CIFAR10 has them."""

    METAINFO = {'classes': CIFAR10_CATEGORIES}

    def load_data_list(self):
        return [dict(img=_rgb(index, 0), gt_label=int(label)) for index, label in enumerate(LABELS)]


def _rgb(index, severity):
    return np.random.default_rng([index, severity]).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def cifar(tmp_path_factory):
    """CIFAR-10-C of six images, and a model whose config has the clean ones in memory."""
    folder = tmp_path_factory.mktemp('cifar')
    root = folder / 'CIFAR-10-C'
    root.mkdir()
    for corruption in (*CORRUPTION_SETS['cifar-10-c'].corruptions, 'spatter'):
        images = [_rgb(index, severity) for severity in (1, 2, 3, 4, 5) for index in range(NUMBER)]
        np.save(root / f'{corruption}.npy', np.stack(images))
    np.save(root / 'labels.npy', np.tile(LABELS, 5))
    config = CONFIG.replace('NUM_CLASSES', str(CLASSES)).replace(
        "type='CustomDataset', data_root='DATA', CLASSES", "type='InMemory', ann_file='',"
    )
    config = config.replace('to_rgb=True', 'to_rgb=False')
    _write_model(folder, 'toy', config.replace("dict(type='LoadImageFromFile'), ", ''))
    return folder


def _evaluate(folder, benchmark, name='toy', **options):
    config, checkpoint = str(folder / f'{name}.py'), str(folder / f'{name}.pth')
    return mmrobust.evaluate(config, benchmark, checkpoint=checkpoint, **SETTINGS | options)


def _errors(folder, severity):
    """Top-1 error in percent by a plain loop over RGB images."""
    pixels = torch.from_numpy(np.stack([_rgb(index, severity) for index in range(NUMBER)])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        said = pixel_logits(_model(folder))(pixels).argmax(1).numpy()
    return 100 * float((said != LABELS).mean())


def test_cifar_10_c(cifar, tmp_path):
    options = dict(data_root=str(cifar / 'CIFAR-10-C'), expected_images=NUMBER)
    report = _evaluate(cifar, 'cifar-10-c', **options, out=tmp_path / 'a')
    found = report.results
    expected = [_errors(cifar, severity) for severity in (1, 2, 3, 4, 5)]
    assert [found['cells'][f'fog_{severity}']['error'] for severity in (1, 2, 3, 4, 5)] == pytest.approx(expected)
    assert found['clean_error'] == pytest.approx(_errors(cifar, 0))
    assert found['mean_error'] == pytest.approx(np.mean(expected))
    assert set(found['corruptions']) == set(CORRUPTION_SETS['cifar-10-c'].corruptions) and found['mCE'] is None
    sentences = ' '.join(report.layout.sentences)
    assert 'The corrupted images are those of CIFAR-10-C, as published.' in sentences
    assert 'no errors of a reference network were published for CIFAR-10-C' in sentences
    relative = _evaluate(cifar, 'cifar-10-c', **options, reference=str(tmp_path / 'a/results.json'))
    assert relative.results['mCE'] == pytest.approx(100)
    extra = _evaluate(cifar, 'cifar-10-c', **options, corruptions=['fog', 'spatter'], severities=[2])
    assert extra.results['corruptions']['spatter']['extra'] and extra.results['mean_error'] == pytest.approx(
        expected[1]
    )
    assert Report.read(tmp_path / 'a/results.json').layout.title == 'CIFAR-10-C'


def test_cifar_from_files_is_bgr_as_they_are(cifar, tmp_path):
    """The same clean images as PNG files, and a model that takes BGR: the same errors."""
    for index, label in enumerate(LABELS):
        path = tmp_path / f'data/{CIFAR10_CATEGORIES[label]}/{index}.png'
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), _rgb(index, 0)[..., ::-1])
    for name in CIFAR10_CATEGORIES:
        (tmp_path / f'data/{name}').mkdir(exist_ok=True)
    config = CONFIG.replace('DATA', str(tmp_path / 'data')).replace('NUM_CLASSES', str(CLASSES))
    config = config.replace('CLASSES', f'classes={list(CIFAR10_CATEGORIES)},')
    (tmp_path / 'files.py').write_text(config)
    shutil.copy(cifar / 'toy.pth', tmp_path / 'files.pth')
    options = dict(data_root=str(cifar / 'CIFAR-10-C'), expected_images=NUMBER, corruptions=['fog'])
    found = _evaluate(tmp_path, 'cifar-10-c', 'files', **options).results
    assert found['clean_error'] == pytest.approx(_errors(cifar, 0))
    assert found['mean_error'] == pytest.approx(np.mean([_errors(cifar, severity) for severity in (1, 2, 3, 4, 5)]))


def test_channel_order_and_severities_of_the_files(cifar):
    how = dict(num_classes=10, expected_images=NUMBER, test_mode=True)
    rgb, bgr = (
        CIFARC(cifar / 'CIFAR-10-C', 'snow', 4, channel_order=order, **how).get_data_info(5) for order in ('rgb', 'bgr')
    )
    np.testing.assert_array_equal(rgb['img'], _rgb(5, 4))
    np.testing.assert_array_equal(bgr['img'], _rgb(5, 4)[..., ::-1])
    assert rgb['gt_label'] == LABELS[5]


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ({}, r'--data-root must be the folder of CIFAR-10-C, got none: unpack CIFAR-10-C\.tar of https://zenodo'),
        (
            dict(data_root='nowhere'),
            r'There is no CIFAR-10-C gaussian_noise\.npy in nowhere: unpack CIFAR-10-C\.tar of',
        ),
        (dict(data_root='ROOT'), r'must be uint8 \(50000, 32, 32, 3\), got uint8 \(30, 32, 32, 3\)'),
        (dict(data_root='ROOT', corruptions=['flash']), 'corruption must be one of gaussian_noise, .*saturate, got'),
        (dict(data_root='ROOT', expected_images=NUMBER, max_images=0), 'max_images must be 1 or more'),
        (dict(data_root='ROOT', seed=3), 'seed must be left out for CIFAR-10-C, whose images are as published, got 3'),
    ],
)
def test_what_is_wrong_is_one_sentence(cifar, options, sentence):
    if options.get('data_root') == 'ROOT':
        options = options | dict(data_root=str(cifar / 'CIFAR-10-C'))
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        _evaluate(cifar, 'cifar-10-c', **options)


def test_other_labels_and_other_clean_images(cifar, tmp_path):
    root = tmp_path / 'c'
    shutil.copytree(cifar / 'CIFAR-10-C', root)
    np.save(root / 'labels.npy', np.tile(LABELS, 5) + 90)
    with pytest.raises(ValueError, match=r'labels\.npy must hold 0 to 9 for CIFAR-10-C, got 90 to 95'):
        _evaluate(cifar, 'cifar-10-c', data_root=str(root), expected_images=NUMBER)
    for name in ('labels', 'fog'):
        np.save(root / f'{name}.npy', np.load(cifar / f'CIFAR-10-C/{name}.npy')[:20])
    with pytest.raises(ValueError, match='got 6 clean ones and 4 of fog_1: take the whole test split'):
        _evaluate(cifar, 'cifar-10-c', data_root=str(root), expected_images=4, corruptions=['fog'])


def test_small_images_under_imagenet_cs_constants(cifar, files):  # noqa: F811
    with pytest.raises(ValueError, match=r'must be files to be corrupted on the fly.*--benchmark cifar-10-c or'):
        _evaluate(cifar, 'imagenet-c')
    report = _evaluate(files, 'imagenet-c', corruptions=['contrast'], severities=[1])
    assert any(of.startswith('These images are 32 x 32: corrupted with') for of in report.layout.sentences)
    assert 'Tiny-ImageNet-C, which have constants of their own' in ' '.join(report.layout.sentences)


def test_a_corruption_of_ones_own_is_made_on_the_fly_only(files, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(CORRUPTIONS, 'nothing', lambda image, severity, rng: image)
    options = dict(corruptions=['nothing'], severities=[1])
    found = _evaluate(files, 'imagenet-c', **options).results
    assert found['cells']['nothing_1']['error'] == found['clean_error']
    assert found['corruptions']['nothing']['extra'] and found['mean_error'] is None  # it is none of the 15
    with pytest.raises(ValueError, match=r"corruption must be one of .*got 'nothing'"):
        _evaluate(files, 'imagenet-c', data_root=str(tmp_path), **options)


@pytest.mark.parametrize(('name', 'corruption'), [('imagenet-c-bar', 'sparkles'), ('imagenet-3dcc', 'fog_3d')])
def test_folders_of_imagenet(files, imagenet, tmp_path, name, corruption):  # noqa: F811
    """The same images as those of ImageNet-C's fog have the same errors; what is missing is named."""
    root = tmp_path / name
    shutil.copytree(imagenet / 'imagenet-c/fog/3', root / corruption / '3', copy_function=shutil.os.link)
    options = dict(expected_images=1000, max_images=20, severities=[3])
    found = _evaluate(files, name, 'imagenet', data_root=str(root), corruptions=[corruption], **options)
    other = _evaluate(
        files, 'imagenet-c', 'imagenet', data_root=str(imagenet / 'imagenet-c'), corruptions=['fog'], **options
    )
    assert found.results['cells'][f'{corruption}_3']['error'] == other.results['cells']['fog_3']['error']
    assert found.results['mean_error'] == other.results['mean_error'] and found.results['mCE'] is None
    archive = dict(zip(('imagenet-c-bar', 'imagenet-3dcc'), ('imagenet_c_bar.tar.gz', 'fog_3d.tar.gz'), strict=True))
    title = CORRUPTION_SETS[name].title
    with pytest.raises(
        FileNotFoundError, match=rf'There is no {title} {corruption}/4 in .*: unpack {archive[name]} of'
    ):
        options['severities'] = [4]
        _evaluate(files, name, 'imagenet', data_root=str(root), corruptions=[corruption], **options)


def test_tiny_imagenet_c(files, tmp_path):  # noqa: F811
    """The clean images again as a corruption: the same error; the labels follow the clean data's classes."""
    shutil.copytree(files / 'data', tmp_path / 'brightness/2')
    options = dict(data_root=str(tmp_path), corruptions=['brightness'], severities=[2])
    report = _evaluate(files, 'tiny-imagenet-c', expected_images=12, **options)
    assert report.results['cells']['brightness_2']['error'] == report.results['clean_error'] == pytest.approx(100 / 12)
    with pytest.raises(ValueError, match='has 12 images, not the expected 10000'):
        _evaluate(files, 'tiny-imagenet-c', **options)


def test_numbers_of_corruptions():
    counts = {name: (len(of.corruptions), len(of.extra)) for name, of in CORRUPTION_SETS.items()}
    assert counts == {
        'imagenet-c': (15, 4),
        'imagenet-c-bar': (10, 0),
        'imagenet-3dcc': (12, 0),
        'tiny-imagenet-c': (15, 4),
        'cifar-10-c': (15, 4),
        'cifar-100-c': (15, 4),
    }
    assert set(CORRUPTION_SETS) <= set(benchmark_types())
