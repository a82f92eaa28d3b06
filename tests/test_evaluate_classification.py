"""tools/evaluate_robustness.py with classifiers: MMPretrain's, ours and timm's."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from mmrobust.attacks import fgsm, pixel_logits
from mmrobust.corruptions import corrupt
from mmrobust.datasets.imagenet_p import read_frames
from mmrobust.datasets.imagenet_variants import SUBSETS, VARIANTS, WNIDS, ImageNetVariant
from mmrobust.evaluation.benchmarks import ImageNetC
from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.counts import Predictions
from mmrobust.evaluation.statistics import flip_probability
from tests.test_datasets.test_imagenet_p import write_video
from tests.test_evaluate_robustness import TOOL, _contents  # noqa: F401 (of the fixture tool)

REPO = Path(__file__).parents[1]
CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='mmrobust.RobustImageClassifier',
    data_preprocessor=dict(mean=[120.0, 110.0, 100.0], std=[60.0] * 3, to_rgb=True),
    backbone=dict(
        type='mmrobust.FAN', arch=dict(embed_dims=16, depth=1, num_heads=2, feature_blocks=(0,)),
        out_type='cls_token', tap_cfg=dict(num_branches=2)),
    head=dict(type='LinearClsHead', num_classes=NUM_CLASSES, in_channels=16))
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset', data_root='DATA', CLASSES
        pipeline=[
            dict(type='LoadImageFromFile'), dict(type='CenterCrop', crop_size=32), dict(type='PackInputs')]))
"""
COMMON = ['--num-workers', '0', '--device', 'cpu']
CELLS = ['--corruptions', 'gaussian_noise', 'contrast', '--severities', '2', '5']


def _write_model(folder, name, config):
    (folder / f'{name}.py').write_text(config)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.manual_seed(0)
        model = MODELS.build(Config.fromfile(folder / f'{name}.py').model)
    for parameter in model.parameters():  # scores that differ from image to image
        torch.nn.init.normal_(parameter, std=0.5)
    torch.save({'state_dict': model.state_dict()}, folder / f'{name}.pth')


def _image(index, size=36):
    rng = np.random.default_rng(index)
    return cv2.resize(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), (size, size), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A config of three classes with a checkpoint, and images that are in the class that the model finds, but one."""
    folder = tmp_path_factory.mktemp('classification')
    config = CONFIG.replace('DATA', str(folder / 'data')).replace('NUM_CLASSES', '3').replace('CLASSES', '')
    _write_model(folder, 'toy', config)
    model = _model(folder)
    images = [_image(index, 32) for index in range(12)]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        model.head.fc.bias -= pixel_logits(model)(pixels).mean(0)  # so that every class is found
        found = pixel_logits(model)(pixels).argmax(1).tolist()
    torch.save({'state_dict': model.state_dict()}, folder / 'toy.pth')
    found[0] = (found[0] + 1) % 3
    for index, (image, label) in enumerate(zip(images, found, strict=True)):
        path = folder / f'data/class_{label}/{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    assert set(found) == {0, 1, 2}
    return folder


def _arguments(files, out, *options, name='toy'):
    return [str(files / f'{name}.py'), str(files / f'{name}.pth'), *COMMON, '--out', str(out), *options]


@pytest.fixture(scope='module')
def whole(files, tmp_path_factory):
    out = tmp_path_factory.mktemp('whole') / 'out'
    command = [sys.executable, 'tools/evaluate_robustness.py', *_arguments(files, out, '--benchmark', 'imagenet-c')]
    result = subprocess.run([*command, *CELLS], cwd=REPO, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert '| clean error | mCE | relative mCE | mean error |' in result.stdout
    return out


@pytest.mark.parametrize('options', [['--num-workers', '2'], ['--batch-size', '4']], ids=['workers', 'batches'])
def test_nothing_depends_on_workers_and_batches(files, tool, whole, tmp_path, options):
    tool.main([*_arguments(files, tmp_path, '--benchmark', 'imagenet-c'), *CELLS, *options])
    assert _contents(tmp_path) == _contents(whole)


def test_shards_merge_exactly(files, tool, whole, tmp_path):
    for index in (1, 0):
        tool.main([*_arguments(files, tmp_path, '--benchmark', 'imagenet-c', '--shard', f'{index}/2'), *CELLS])
    assert _contents(tmp_path) == _contents(whole)


def _model(files, name='toy'):
    config = Config.fromfile(files / f'{name}.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(config.model).eval()
    model.load_state_dict(torch.load(files / f'{name}.pth', weights_only=True)['state_dict'])
    return model


def _labels_and_predictions(whole, cell):
    return Predictions.from_json((whole / f'cells/{cell}.json').read_text()).images


def test_a_cell_equals_a_plain_loop(files, whole):
    """Each image cropped, then corrupted, then through the model: the corruption comes after the config's crop."""
    logits_of = pixel_logits(_model(files))
    found = _labels_and_predictions(whole, 'contrast_5')
    assert len(found) == 12
    for name, (label, said) in found.items():
        image = cv2.imread(str(files / 'data' / name))
        corrupted = corrupt(image[..., ::-1], 'contrast', 5, np.random.default_rng(0))[..., ::-1]
        pixels = torch.from_numpy(corrupted.copy()).permute(2, 0, 1)[None] / 255
        assert label == int(name[len('class_')]) and said == logits_of(pixels).argmax()
    results = json.loads((whole / 'results.json').read_text())['results']
    assert results['cells']['contrast_5']['error'] == 100 * np.mean([label != said for label, said in found.values()])
    assert results['mCE'] is None, 'AlexNet was measured on ImageNet, not on three classes'


def test_ce_relative_to_a_reference(files, tool, whole, tmp_path, capsys):
    """Relative to itself a model has CE 100, whatever its errors."""
    one = ['--corruptions', 'gaussian_noise', 'impulse_noise']
    tool.main([*_arguments(files, tmp_path / 'a', '--benchmark', 'imagenet-c'), *one])
    reference = str(tmp_path / 'a/results.json')
    tool.main([*_arguments(files, tmp_path / 'b', '--benchmark', 'imagenet-c', '--reference', reference), *one])
    content = json.loads((tmp_path / 'b/results.json').read_text())
    assert [row['CE'] for row in content['results']['corruptions'].values()] == [100, 100]
    assert content['provenance']['protocol']['normalised_by'].endswith('toy.py')
    assert content['results']['reference_sha256'] == content['provenance']['checkpoint_sha256']
    capsys.readouterr()
    third = _arguments(files, tmp_path / 'c', '--benchmark', 'imagenet-c', '--reference', reference)
    assert 'is of another protocol (seed 0, here 1)' in _stopped(tool, capsys, [*third, '--seed', '1'])
    shutil.copytree(files / 'data', tmp_path / 'data')
    first = sorted((tmp_path / 'data').rglob('*.png'))[0]
    cv2.imwrite(str(first), 255 - cv2.imread(str(first)))
    other = ['--cfg-options', f'test_dataloader.dataset.data_root={tmp_path}/data']
    assert 'is of another protocol (images_sha256.clean ' in _stopped(tool, capsys, [*third, *other])
    old = json.loads(Path(reference).read_text())
    del old['provenance']['images_sha256']
    Path(reference).write_text(json.dumps(old))
    assert 'does not say which images it is of: run it again' in _stopped(tool, capsys, third)


def test_attacks(files, tool, tmp_path):
    options = ['--benchmark', 'adversarial', '--eps', '0.3', '--step-size', '0.1', '--num-steps', '5']
    tool.main(_arguments(files, tmp_path / 'one', *options))
    tool.main(_arguments(files, tmp_path / 'batches', *options, '--batch-size', '4'))
    assert _contents(tmp_path / 'one') == _contents(tmp_path / 'batches')
    found = {cell: _labels_and_predictions(tmp_path / 'one', cell) for cell in ('clean', 'fgsm', 'pgd')}
    errors = {cell: np.mean([label != said for label, said in of.values()]) for cell, of in found.items()}
    assert errors['clean'] == 1 / 12 < min(errors['pgd'], errors['fgsm'])
    logits_of = pixel_logits(_model(files))
    for name, (label, said) in found['fgsm'].items():
        image = cv2.imread(str(files / 'data' / name))
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        assert said == logits_of(fgsm(logits_of, pixels, torch.tensor([label]), eps=0.3)).argmax()


def test_sizes_of_an_attack_may_be_fractions(tool, files, capsys):
    start = [str(files / 'toy.py'), str(files / 'toy.pth'), '--benchmark', 'adversarial']
    args = tool.parse_args([*start, '--eps', '8/255', '--step-size', '0.5/255'])
    assert (args.eps, args.step_size) == ([8 / 255], 0.5 / 255)
    assert tool.parse_args([*start, '--eps', '3e-2']).eps == [0.03]
    for text in ('8/0', '8/', '/255', '1/2/3', 'x'):
        with pytest.raises(SystemExit):
            tool.parse_args([*start, '--eps', text])
        assert f"argument --eps: invalid fraction value: '{text}'" in capsys.readouterr().err
    for option, text in (('eps', '1'), ('eps', '255/255'), ('step_size', '1'), ('eps', 'nan'), ('eps', '-1/255')):
        said = _stopped(tool, capsys, [*start, f'--{option.replace("_", "-")}={text}'])
        assert f'{option} must be 0 to less than 1, the whole range of a pixel, such as 1/255, got ' in said
    for options, said in (
        (['--eps', '1/255', '2/255'], 'eps must be one number for a classifier, got [0.00'),
        (['--num-steps', '5', '10'], 'num_steps must be one number for a classifier, got [5, 10]'),
        (['--attacks', 'segpgd'], "attacks must be some of fgsm, pgd, got 'segpgd'"),
        (['--norm', 'l2'], 'norm is for models of mmseg under adversarial: leave norm out'),
    ):
        assert said in _stopped(tool, capsys, [*start, *options])


def test_attacks_say_where_they_had_no_gradient(files, tool, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('mmrobust.evaluation.models.classification.pixel_logits', _steps_of_pixels)
    tool.main(_arguments(files, tmp_path, '--benchmark', 'adversarial'))
    printed = capsys.readouterr().out
    assert all(f'| {name} | ' in printed for name in ('clean', 'fgsm', 'pgd'))
    said = (
        'fgsm had no gradient for 12 of 12 images, and left them as they were: its error is not evidence of robustness.'
    )
    assert said in printed
    assert all(said in (tmp_path / f'results.{end}').read_text() for end in ('md', 'html'))
    rows = json.loads((tmp_path / 'results.json').read_text())['results']['cells']
    assert (rows['pgd']['num_blind'], rows['pgd']['num_by_margin']) == (12, 12) and 'num_blind' not in rows['clean']


def _steps_of_pixels(classifier):
    logits_of = pixel_logits(classifier)
    return lambda images: logits_of(images.round() + 0 * images)


@pytest.fixture(scope='module')
def imagenet(files):
    """ImageNet of one image per class, with ImageNet-A and one cell of ImageNet-C, and a model of 1000 classes."""
    root = files / 'imagenet'
    jpeg = cv2.imencode('.jpg', _image(0, 32))[1].tobytes()
    for folder in (
        *(f'val/{wnid}' for wnid in WNIDS),
        *(f'imagenet-a/{wnid}' for wnid in VARIANTS['imagenet-a'].folders),
        *(f'imagenet-c/fog/3/{wnid}' for wnid in WNIDS),
    ):
        (root / folder).mkdir(parents=True)
        (root / folder / 'image.JPEG').write_bytes(jpeg)
    config = CONFIG.replace("type='CustomDataset'", "type='mmrobust.ImageNetVariant', variant='imagenet'")
    config = config.replace('NUM_CLASSES', '1000').replace('CLASSES', 'expected_images=1000,')
    _write_model(files, 'imagenet', config.replace('DATA', str(root / 'val')))
    return root


def test_predictions_on_imagenet_a_are_among_its_classes(files, imagenet, tool, tmp_path, capsys):
    options = ['--benchmark', 'imagenet-variants', '--variants', 'imagenet-a', '--data-root', str(imagenet)]
    tool.main(_arguments(files, tmp_path, *options, '--expected-images', '200', '--batch-size', '50', name='imagenet'))
    printed = capsys.readouterr().out
    assert '| clean | ' in printed and '| imagenet-a | ' in printed
    found = _labels_and_predictions(tmp_path, 'imagenet-a')
    allowed = np.array(SUBSETS['imagenet-a'])
    assert len(found) == 200 and {label for label, _ in found.values()} == set(allowed)
    pixels = torch.from_numpy(cv2.imread(str(next(imagenet.glob('imagenet-a/*/*'))))).permute(2, 0, 1)[None] / 255
    logits = pixel_logits(_model(files, 'imagenet'))(pixels)[0]
    assert {said for _, said in found.values()} == {int(allowed[logits[allowed].argmax()])}
    assert int(logits.argmax()) not in allowed, 'all 1000 classes would have given another answer'


def test_official_imagenet_c_and_what_is_missing_of_it(files, imagenet, tool, tmp_path, capsys):
    options = ['--benchmark', 'imagenet-c', '--data-root', str(imagenet / 'imagenet-c'), '--expected-images', '1000']
    arguments = _arguments(files, tmp_path, *options, '--batch-size', '50', '--corruptions', 'fog', name='imagenet')
    tool.main([*arguments, '--severities', '3', '--max-images', '40'])
    content = json.loads((tmp_path / 'results.json').read_text())
    assert content['provenance']['corrupted'] == 'official' and content['provenance']['num_images'] == 40
    assert len(_labels_and_predictions(tmp_path, 'fog_3')) == 40
    assert content['results']['normalised_by'] is None, 'AlexNet was measured on all 50,000 images'
    with pytest.raises(SystemExit):
        tool.main([*arguments, '--max-images', '40'])
    assert 'There is no ImageNet-C fog/1' in capsys.readouterr().err
    assert (tmp_path / 'cells/fog_3.json').exists()
    shutil.rmtree(tmp_path)
    with pytest.raises(SystemExit):
        tool.main([*arguments[:-2], '--corruptions', 'fog', '--expected-images', '50000', '--severities', '3'])
    assert '1000 images, not the expected 50000' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('size', 'classes', 'by'), [(50_000, True, 'AlexNet'), (1000, True, None), (50_000, False, None)]
)
@pytest.mark.parametrize('official', [True, False])
def test_alexnets_published_errors_are_for_the_validation_images_only(files, imagenet, size, classes, by, official):
    config = Config.fromfile(files / 'imagenet.py')
    if not classes:  # a thousand, but others
        config.test_dataloader.dataset.metainfo = dict(classes=[f'class {index}' for index in range(1000)])
    root = str(imagenet / 'imagenet-c') if official else None
    benchmark = ImageNetC(config, root, ['contrast'], expected_images=1000)
    benchmark._clean.size = size
    counts = {cell: Predictions({'a': (0, index % 2)}) for index, cell in enumerate(benchmark.cells)}
    results = benchmark.summarize(counts)
    assert results['normalised_by'] == by and (results['corruptions']['contrast']['CE'] is None) is (by is None)
    sentences = ' '.join(benchmark.layout(results, benchmark.identity).sentences)
    assert ('CE is relative to AlexNet.' in sentences) is (by is not None)
    of = '1,000;' if size == 1000 else '50,000 others;'
    expected = f"AlexNet's published errors are of all 50,000 validation images of ImageNet, and these are {of}"
    assert (expected in sentences) is (by is None)


def test_official_images_in_other_folders_are_told_apart(files, imagenet, tool, tmp_path, capsys):
    """By one class of each folder, and those of folders that were not there before do not matter."""
    shutil.copytree(imagenet / 'imagenet-c', tmp_path / 'c')
    options = ['--benchmark', 'imagenet-c', '--data-root', str(tmp_path / 'c'), '--expected-images', '1000']
    arguments = _arguments(files, tmp_path / 'out', *options, '--batch-size', '50', name='imagenet')
    arguments += ['--max-images', '4', '--severities', '3']
    tool.main([*arguments, '--corruptions', 'fog'])
    shutil.copytree(tmp_path / 'c/fog', tmp_path / 'c/contrast')
    tool.main([*arguments, '--corruptions', 'fog', 'contrast'])
    image = next((tmp_path / 'c/fog/3' / WNIDS[0]).iterdir())
    image.write_bytes(image.read_bytes()[:-2] + b'??')
    sentence = _stopped(tool, capsys, [*arguments, '--corruptions', 'fog'])
    assert "another run (images_sha256.fog_3 '" in sentence


def test_half_unpacked_imagenet_c_is_refused_before_the_first_cell(files, imagenet, tool, tmp_path, capsys):
    options = ['--benchmark', 'imagenet-c', '--data-root', str(imagenet / 'imagenet-c'), '--expected-images', '1000']
    arguments = _arguments(files, tmp_path / 'out', *options, '--corruptions', 'fog', 'contrast', name='imagenet')
    sentence = _stopped(tool, capsys, [*arguments, '--severities', '3', '5'])
    assert f'There is no ImageNet-C fog/5, contrast/3, contrast/5 in {imagenet}/imagenet-c' in sentence
    assert 'unpack weather.tar, digital.tar of' in sentence
    assert not (tmp_path / 'out/cells').exists()


def test_images_of_a_cell_are_listed_once(files, imagenet, monkeypatch):
    """And a second time by the data loader, which this model does not have."""
    listed = []
    monkeypatch.setattr(
        ImageNetVariant,
        'load_data_list',
        lambda self, load=ImageNetVariant.load_data_list: listed.append(self.variant) or load(self),
    )

    class Model:
        def predict(self, dataset, attack):
            assert [step['type'] for step in dataset['pipeline'][1:]] == ['CenterCrop', 'PackInputs']
            for wnid in WNIDS:
                yield f'{imagenet}/imagenet-c/fog/3/{wnid}/image.JPEG', 0, np.arange(1000)

    config = Config.fromfile(files / 'imagenet.py')
    benchmark = ImageNetC(config, str(imagenet / 'imagenet-c'), ['fog'], [3], expected_images=1000)
    result = benchmark.run(Model(), Cell('fog', 3))
    assert len(result.images) == 1000 and listed == ['imagenet', 'imagenet-c']


def _stopped(tool, capsys, arguments):
    """The one sentence that the tool ends with."""
    with pytest.raises(SystemExit) as error:
        tool.main(arguments)
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize('benchmark', ['imagenet-c', 'adversarial'])
def test_a_renamed_class_folder_is_refused(files, tool, tmp_path, capsys, benchmark):
    """Its name sorts elsewhere, and every label after it would be another class."""
    content = torch.load(files / 'toy.pth', weights_only=True)
    meta = {'dataset_meta': {'classes': ['class_0', 'class_1', 'class_2']}}
    torch.save(content | {'meta': meta}, tmp_path / 'named.pth')
    shutil.copytree(files / 'data', tmp_path / 'data')
    arguments = [str(files / 'toy.py'), str(tmp_path / 'named.pth'), *COMMON, '--benchmark', benchmark]
    arguments += ['--out', str(tmp_path / 'out'), '--cfg-options', f'test_dataloader.dataset.data_root={tmp_path}/data']
    (tmp_path / 'data/class_1').rename(tmp_path / 'data/one')
    said = "3 ('class_0', 'class_1', 'class_2'), got 3 ('class_0', 'class_2', 'one'), where class 1 is 'class_2'"
    for dataset in ('CustomDataset', 'mmrobust.ImageFolder'):
        assert said in _stopped(tool, capsys, [*arguments, f'test_dataloader.dataset.type={dataset}'])
    assert not (tmp_path / 'out').exists()


def test_number_of_outputs_and_a_declared_subset(files, whole, tool, tmp_path, capsys):
    """A model of more classes is refused, and right where the data declare which of its outputs they are."""
    content = torch.load(files / 'toy.pth', weights_only=True)
    places = [4, 1, 3]  # of the three classes among five outputs; the other two always win
    for key in ('head.fc.weight', 'head.fc.bias'):
        old, new = content['state_dict'][key], torch.full((5, *content['state_dict'][key].shape[1:]), 0.0)
        new[places] = old
        if key.endswith('bias'):
            new[[0, 2]] = 30.0
        content['state_dict'][key] = new
    torch.save(content, tmp_path / 'five.pth')
    arguments = [str(files / 'toy.py'), str(tmp_path / 'five.pth'), *COMMON, '--benchmark', 'imagenet-c', *CELLS]
    arguments += ['--cfg-options', 'model.head.num_classes=5', 'test_dataloader.dataset.type=mmrobust.ImageFolder']
    said = "got 5 outputs and 3 classes ('class_0', 'class_1', 'class_2')"
    assert said in _stopped(tool, capsys, [*arguments, '--out', str(tmp_path / 'refused')])
    subset = 'test_dataloader.dataset.metainfo.subset=4,1,3'
    tool.main([*arguments, subset, '--out', str(tmp_path / 'out')])
    found, expected = (_labels_and_predictions(of, 'contrast_5') for of in (tmp_path / 'out', whole))
    assert found == {name: (places[label], places[said]) for name, (label, said) in expected.items()}
    wrong = 'test_dataloader.dataset.type=CustomDataset'  # which knows nothing of a subset, and labels 0, 1, 2
    assert 'declared subset of classes, got' in _stopped(
        tool, capsys, [*arguments, subset, wrong, '--out', str(tmp_path / 'wrong')]
    )


def test_imagenets_relatives_are_for_imagenets_classes(files, imagenet, tool, tmp_path, capsys):
    """Clean images of a user's own 1000 classes, and a checkpoint that does not say which it has."""
    (tmp_path / 'own').mkdir()
    for index, wnid in enumerate(WNIDS):
        os.symlink(imagenet / 'val' / wnid, tmp_path / f'own/{index:04d}')
    config = tmp_path / 'own.py'
    config.write_text(
        (files / 'imagenet.py')
        .read_text()
        .replace("variant='imagenet',", '')
        .replace('ImageNetVariant', 'ImageFolder')
        .replace('expected_images=1000,', '')
        .replace(str(imagenet / 'val'), str(tmp_path / 'own'))
    )
    arguments = [str(config), str(files / 'imagenet.pth'), *COMMON, '--out', str(tmp_path / 'out')]
    variants = ['--benchmark', 'imagenet-variants', '--variants', 'imagenet-a', '--expected-images', '200']
    official = ['--benchmark', 'imagenet-c', '--corruptions', 'fog', '--severities', '3', '--expected-images', '1000']
    for options, root in ((variants, imagenet), (official, imagenet / 'imagenet-c')):
        sentence = _stopped(tool, capsys, [*arguments, *options, '--data-root', str(root)])
        assert "('0000', '0001', '0002', '0003', ...), got 1000 ('tench', 'goldfish', " in sentence


def test_low_precision(files, tool, whole, tmp_path, capsys):
    tool.main([*_arguments(files, tmp_path, '--benchmark', 'imagenet-c', '--amp'), *CELLS])
    content = json.loads((tmp_path / 'results.json').read_text())
    assert content['provenance']['precision'] == 'bfloat16'
    found, expected = (_labels_and_predictions(folder, 'contrast_5') for folder in (tmp_path, whole))
    assert sum(found[name] == expected[name] for name in expected) >= 10
    capsys.readouterr()
    for options, sentence in (
        (['--benchmark', 'adversarial', '--amp'], 'amp is not for the benchmark adversarial'),
        (['--benchmark', 'imagenet-c', '--window-batch', '2'], 'window_batch is for models of mmseg'),
    ):
        assert sentence in _stopped(tool, capsys, _arguments(files, tmp_path / 'other', *options))


def test_class_folders_that_are_not_the_expected_ones(files, imagenet, tool, tmp_path, capsys):
    for name, wnids in (('val', WNIDS[1:]), ('imagenet-a', [*VARIANTS['imagenet-a'].folders[:-1], 'n00000000'])):
        (tmp_path / name).mkdir()
        for wnid in wnids:
            os.symlink(imagenet / 'val' / (wnid if wnid in WNIDS else WNIDS[0]), tmp_path / name / wnid)
    variants = ['--benchmark', 'imagenet-variants', '--variants', 'imagenet-a', '--data-root', str(tmp_path)]
    arguments = _arguments(files, tmp_path / 'out', *variants, name='imagenet')
    sentence = _stopped(tool, capsys, arguments)
    assert f'ImageNet-A in {tmp_path}/imagenet-a has' in sentence and 'n00000000' in sentence
    sentence = _stopped(
        tool, capsys, [*arguments, '--cfg-options', f'test_dataloader.dataset.data_root={tmp_path}/val']
    )
    assert f'ImageNet in {tmp_path}/val has' in sentence and WNIDS[0] in sentence
    shutil.copytree(imagenet / 'val', tmp_path / 'c/fog/3')
    (tmp_path / f'c/fog/3/{WNIDS[7]}/image.JPEG').unlink()
    options = ['--benchmark', 'imagenet-c', '--data-root', f'{tmp_path}/c', '--corruptions', 'fog', '--severities', '3']
    options += ['--batch-size', '50', '--max-images', '2']
    sentence = _stopped(tool, capsys, _arguments(files, tmp_path / 'out', *options, name='imagenet'))
    assert f'in 1 of 1000 class folders ({WNIDS[7]})' in sentence
    perturbed = ['--benchmark', 'imagenet-p', '--data-root', str(tmp_path), '--perturbations', 'tilt']
    (tmp_path / 'tilt' / WNIDS[0]).mkdir(parents=True)
    sentence = _stopped(tool, capsys, _arguments(files, tmp_path / 'out', *perturbed, name='imagenet'))
    assert f'tilt of ImageNet-P in {tmp_path}/tilt has' in sentence and 'n01443537' in sentence


@pytest.mark.parametrize('loader', ['LoadImageFromFile', 'mmrobust.LoadImageFromFile'])
@pytest.mark.parametrize('workers', ['0', '2'])
def test_unreadable_image(files, tool, tmp_path, capsys, loader, workers):
    shutil.copytree(files / 'data', tmp_path / 'data')
    broken = next((tmp_path / 'data').glob('*/5.png'))
    broken.write_bytes(b'no image')
    options = [f'test_dataloader.dataset.{key}={value}' for key, value in (
        ('data_root', tmp_path / 'data'), ('pipeline.0.type', loader))]  # fmt: skip
    arguments = _arguments(files, tmp_path / 'out', '--benchmark', 'adversarial', '--attacks', 'fgsm')
    sentence = _stopped(tool, capsys, [*arguments, '--num-workers', workers, '--cfg-options', *options])
    assert str(broken) in sentence and sentence.startswith(f'{Path(sys.argv[0]).name}: error: ')


def test_imagenet_p_and_an_unreadable_video(files, imagenet, tool, tmp_path, capsys):
    video = write_video(tmp_path / 'video.mp4', 5, (32, 32))
    for wnid in WNIDS:
        (tmp_path / 'tilt' / wnid).mkdir(parents=True)
        os.link(video, tmp_path / 'tilt' / wnid / 'a.mp4')
    options = [
        '--benchmark',
        'imagenet-p',
        '--data-root',
        str(tmp_path),
        '--perturbations',
        'tilt',
        '--max-images',
        '3',
    ]
    arguments = _arguments(files, tmp_path / 'out', *options, name='imagenet')
    tool.main(arguments)
    row = json.loads((tmp_path / 'out/results.json').read_text())['results']['perturbations']['tilt']
    pixels = torch.from_numpy(read_frames(str(video))).permute(0, 3, 1, 2) / 255
    said = pixel_logits(_model(files, 'imagenet'))(pixels).argmax(1)
    assert row['num_videos'] == 3 and row['flip_probability'] == 100 * flip_probability(said, 'tilt')
    names = [f'tilt/{WNIDS[index]}/a.mp4' for index in (0, 499, 999)]
    assert list(json.loads((tmp_path / 'out/cells/tilt.json').read_text())['videos']) == names
    shutil.rmtree(tmp_path / 'out')
    broken = tmp_path / names[1]
    broken.unlink()
    broken.write_bytes(video.read_bytes()[:100])
    for workers in ('0', '2'):
        sentence = _stopped(tool, capsys, [*arguments, '--num-workers', workers])
        assert f'{broken} cannot be read as a video' in sentence


def test_timm_classifier(files, tool, tmp_path, capsys):
    pytest.importorskip('timm')
    config = files / 'timm.py'
    model = "model = dict(type='TimmClassifier', model_name='test_vit', num_classes=3, img_size=32)"
    config.write_text(f"_base_ = './toy.py'\n{model.replace('dict(', 'dict(_delete_=True, ')}")
    with pytest.raises(SystemExit):
        tool.main([str(config), *COMMON, '--benchmark', 'adversarial', '--out', str(tmp_path / 'none')])
    assert 'a checkpoint is needed' in capsys.readouterr().err
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        classifier = MODELS.build(Config.fromfile(config).model)
    torch.save(classifier.model.state_dict(), files / 'timm.pth')  # as timm itself names the weights
    tool.main(_arguments(files, tmp_path, '--benchmark', 'adversarial', '--attacks', 'fgsm', name='timm'))
    content = json.loads((tmp_path / 'results.json').read_text())
    assert set(content['results']['cells']) == {'clean', 'fgsm'}
    provenance = content['provenance']
    assert provenance['name'] == 'timm_test_vit' and provenance['model'] == 'test_vit'
    assert provenance['mean'] == [127.5] * 3  # the network's, of which the config says nothing
    # and the same by the name of the config alone
    config.write_text(config.read_text() + f'\nload_from = {str(files / "timm.pth")!r}\n')
    options = ['--benchmark', 'adversarial', '--attacks', 'fgsm', '--out', str(tmp_path / 'named')]
    tool.main([str(config), *COMMON, *options])
    assert json.loads((tmp_path / 'named/results.json').read_text()) == content


def test_two_networks_of_one_config_do_not_share_a_folder(files, tool, tmp_path, monkeypatch):
    pytest.importorskip('timm')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'any.py').write_text(
        f'_base_ = {str(files / "toy.py")!r}\n'
        "model = dict(_delete_=True, type='TimmClassifier', model_name='test_vit', num_classes=3)\n"
    )
    for name, size in (('test_vit', ['model.img_size=32']), ('test_resnet.r160_in1k', [])):
        options = ['--cfg-options', f'model.model_name={name}', *size]
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            config = Config.fromfile('any.py')
            config.merge_from_dict(
                dict(option.split('=') for option in options[1:2]) | ({'model.img_size': 32} if size else {})
            )
            torch.save(MODELS.build(config.model).state_dict(), 'any.pth')
        tool.main(['any.py', 'any.pth', *COMMON, '--benchmark', 'adversarial', '--attacks', 'fgsm', *options])
    found = {path.parts[-3] for path in tmp_path.glob('work_dirs/robustness/*/adversarial/results.json')}
    assert found == {'any_test_vit', 'any_test_resnet.r160_in1k'}
    page = (tmp_path / 'work_dirs/robustness/any_test_resnet.r160_in1k/adversarial/results.md').read_text()
    assert page.startswith('# any_test_resnet.r160_in1k: Attacks')


def test_preprocessing_beside_the_model_is_taken(files, tool, tmp_path):
    """Where MMPretrain's own configs have it, and its runner finds it."""
    text = (files / 'toy.py').read_text()
    line = next(line for line in text.splitlines() if 'data_preprocessor' in line)
    beside = line.strip().replace('data_preprocessor=', 'data_preprocessor = ').rstrip(',')
    (files / 'beside.py').write_text(text.replace(f'{line}\n', '') + f'{beside}\n')
    shutil.copyfile(files / 'toy.pth', files / 'beside.pth')
    options = ['--benchmark', 'adversarial', '--attacks', 'fgsm']
    for name in ('toy', 'beside'):
        tool.main(_arguments(files, tmp_path / name, *options, name=name))
    found = [json.loads((tmp_path / name / 'results.json').read_text()) for name in ('toy', 'beside')]
    assert found[0]['results'] == found[1]['results'] and found[1]['provenance']['mean'] == [120, 110, 100]


def test_benchmark_of_segmentation(files, tool, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tool.main(_arguments(files, tmp_path))
    names = 'imagenet-c-bar, imagenet-3dcc, tiny-imagenet-c, cifar-10-c, cifar-100-c'
    assert f'choose from imagenet-c, {names}, imagenet-variants, adversarial, imagenet-p' in capsys.readouterr().err
