"""tools/evaluate_robustness.py on MiniCity, with a model of MMSegmentation's own."""

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.evaluation import IoUMetric
from mmseg.registry import MODELS

from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from mmrobust.evaluation.counts import Confusion
from mmrobust.evaluation.statistics import mean_iou
from tests.tool_loading import load_tool

REPO = Path(__file__).parents[1]
TOOL = 'evaluate_robustness.py'
CONFIG = """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[60.0] * 3, bgr_to_rgb=True),
    backbone=dict(
        type='MixVisionTransformer', embed_dims=8, num_stages=1, num_layers=[1], num_heads=[1], patch_sizes=[7],
        strides=[4], sr_ratios=[4], out_indices=(0,)),
    decode_head=dict(
        type='SegformerHead', in_channels=[8], in_index=[0], channels=8, num_classes=19, dropout_ratio=0,
        norm_cfg=dict(type='SyncBN'), align_corners=False),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CityscapesDataset', data_root='DATA',
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=[
            dict(type='LoadImageFromFile'), dict(type='Resize', scale=(96, 48), keep_ratio=True),
            dict(type='LoadAnnotations'), dict(type='PackSegInputs')]))
"""
CELLS = ['--corruptions', 'gaussian_noise', 'contrast', '--severities', '2', '5']


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A config, a checkpoint of it, and the data that it names."""
    folder = tmp_path_factory.mktemp('robustness')
    write_toy(folder, num_val=4, num_acdc=2)
    return folder


def write_toy(folder, **params):
    """``minicity``, ``toy.py`` for it, and ``toy.pth``."""
    write_minicity(folder / 'minicity', MiniCityParams(num_train=2, size=(64, 32), **params))
    config = folder / 'toy.py'
    config.write_text(CONFIG.replace('DATA', str(folder / 'minicity')))
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model | dict(_scope_='mmseg'))
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    torch.save({'state_dict': model.state_dict()}, folder / 'toy.pth')


def _arguments(files, out, *options):
    common = ['--num-workers', '0', '--device', 'cpu', '--out', str(out)]
    return [str(files / 'toy.py'), str(files / 'toy.pth'), *common, *CELLS, *options]


def _contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.fixture(scope='module')
def whole(files, tmp_path_factory):
    """The results of one undisturbed run."""
    out = tmp_path_factory.mktemp('whole') / 'out'
    command = [sys.executable, 'tools/evaluate_robustness.py', *_arguments(files, out)]
    result = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert '| clean | mPC | retention |' in result.stdout
    return out


@pytest.mark.parametrize('options', [['--num-workers', '4'], ['--batch-size', '3']], ids=['workers', 'batches'])
def test_nothing_depends_on_workers_and_batches(files, tool, whole, tmp_path, options):
    tool.main(_arguments(files, tmp_path, *options))
    assert _contents(tmp_path) == _contents(whole)


def test_shards_merge_exactly(files, tool, whole, tmp_path, capsys):
    for index in (2, 0, 1):
        assert not (tmp_path / 'results.json').exists()
        tool.main(_arguments(files, tmp_path, '--shard', f'{index}/3'))
    assert 'left to other processes' in capsys.readouterr().out
    assert _contents(tmp_path) == _contents(whole)


def test_two_processes_of_torchrun(files, whole, tmp_path):
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    command = [*launcher, 'tools/evaluate_robustness.py', *_arguments(files, tmp_path)]
    result = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert _contents(tmp_path) == _contents(whole)


def _start(arguments):
    command = [sys.executable, 'tools/evaluate_robustness.py', *arguments]
    return subprocess.Popen(command, cwd=REPO, start_new_session=True, stdout=subprocess.DEVNULL)


def _wait_for(path, process):
    """Until a process has written a file."""
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)


def _finished(folder):
    """Contents, without what a killed process may leave: a file that was not renamed yet."""
    return {name: content for name, content in _contents(folder).items() if not name.endswith('.tmp')}


def test_killed_and_continued(files, tool, whole, tmp_path):
    process = _start(_arguments(files, tmp_path))
    _wait_for(tmp_path / 'cells/clean.json', process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'results.json').exists(), 'killed too late to prove anything'
    tool.main(_arguments(files, tmp_path))
    assert _finished(tmp_path) == _contents(whole)


LONG_CELLS = ['--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(512,256)']  # half a second each, or more


@pytest.fixture(scope='module')
def whole_long(files, tmp_path_factory):
    """The results of one undisturbed run whose cells last long enough to be in the middle of one."""
    out = tmp_path_factory.mktemp('whole_long')
    assert _start(_arguments(files, out, *LONG_CELLS)).wait() == 0
    return out


@pytest.mark.slow
def test_one_of_three_processes_is_killed_in_a_cell(files, whole_long, tmp_path):
    """All of them at work in one folder, as on three machines; the moment is another one every time."""
    shards = [_arguments(files, tmp_path, *LONG_CELLS, '--shard', f'{index}/3') for index in range(3)]
    processes = [_start(shard) for shard in shards]
    _wait_for(tmp_path / 'cells/clean.json', processes[0])  # the first of shard 0, whose second cell has begun
    time.sleep(random.SystemRandom().uniform(0, 0.4))
    os.killpg(processes[0].pid, signal.SIGKILL)
    assert processes[0].wait() == -signal.SIGKILL and not (tmp_path / 'cells/contrast_2.json').exists(), 'too late'
    assert [process.wait() for process in processes[1:]] == [0, 0]
    assert not (tmp_path / 'results.json').exists()
    assert _start(shards[0]).wait() == 0
    assert _finished(tmp_path) == _contents(whole_long)


@pytest.mark.slow
def test_a_shard_whose_old_process_is_not_dead_yet(files, whole_long, tmp_path):
    """A node that does not answer is given up, its work is done elsewhere, and then it comes back."""
    arguments = _arguments(files, tmp_path, *LONG_CELLS)
    old = _start(arguments)
    _wait_for(tmp_path / 'cells/clean.json', old)
    os.killpg(old.pid, signal.SIGSTOP)
    assert not (tmp_path / 'results.json').exists(), 'too late'
    assert _start(arguments).wait() == 0
    assert _finished(tmp_path) == _contents(whole_long)
    os.killpg(old.pid, signal.SIGCONT)
    assert old.wait() == 0
    assert _finished(tmp_path) == _contents(whole_long)


@pytest.mark.slow
def test_the_same_shard_twice_at_once(files, whole, tmp_path):
    processes = [_start(_arguments(files, tmp_path)) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert _contents(tmp_path) == _contents(whole)


def test_a_cell_equals_mmsegs_own_metric(files, whole):
    """The same predictions through IoUMetric, with the corruption written down by hand."""
    from mmseg.apis import inference_model, init_model

    from mmrobust.corruptions import corrupt

    config = Config.fromfile(files / 'toy.py')
    config.test_pipeline = config.test_dataloader.dataset.pipeline
    model = init_model(config, None, 'cpu')
    model.load_state_dict(torch.load(files / 'toy.pth', weights_only=True)['state_dict'])
    results = []
    for file in sorted((files / 'minicity/leftImg8bit/val').rglob('*.png')):
        image = corrupt(cv2.imread(str(file))[..., ::-1], 'contrast', 5, np.random.default_rng(0))[..., ::-1]
        label = cv2.imread(str(file).replace('leftImg8bit', 'gtFine').replace('.png', '_labelTrainIds.png'), -1)
        prediction = inference_model(model, np.ascontiguousarray(image)).pred_sem_seg.data.squeeze(0)
        results.append(IoUMetric.intersect_and_union(prediction, torch.from_numpy(label), 19, 255))
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=tuple(range(19)))
    cell = Confusion.from_json((whole / 'cells/contrast_5.json').read_text())
    assert round(mean_iou(cell.confusion), 2) == pytest.approx(metric.compute_metrics(results)['mIoU'], abs=1e-9)
    assert json.loads((whole / 'results.json').read_text())['results']['cells']['contrast_5']['mIoU'] == mean_iou(
        cell.confusion
    )


def test_summary_is_the_mean_of_its_cells(whole):
    results = json.loads((whole / 'results.json').read_text())['results']
    cells = {name: cell['mIoU'] for name, cell in results['cells'].items()}
    assert set(cells) == {'gaussian_noise_2', 'gaussian_noise_5', 'contrast_2', 'contrast_5'}
    assert results['corruptions']['contrast'] == pytest.approx((cells['contrast_2'] + cells['contrast_5']) / 2)
    assert results['mPC'] == pytest.approx(np.mean(list(cells.values())))
    assert results['retention'] == pytest.approx(100 * results['mPC'] / results['clean_mIoU'])
    assert results['severities']['5'] == pytest.approx((cells['gaussian_noise_5'] + cells['contrast_5']) / 2)
    low, high = results['clean_mIoU_interval']
    assert low <= results['clean_mIoU'] <= high or low < high
    rows = list(csv.DictReader((whole / 'results.csv').open()))
    assert {f'{row["corruption"]}_{row["severity"]}': float(row['mIoU']) for row in rows[1:]} == cells


def test_part_of_the_images(files, tool, tmp_path):
    tool.main(_arguments(files, tmp_path, '--max-images', '2'))
    cell = Confusion.from_json((tmp_path / 'cells/clean.json').read_text())
    assert len(cell.images) == 2
    assert json.loads((tmp_path / 'results.json').read_text())['provenance']['num_images'] == 2


def test_a_copy_on_disk_gives_the_same_counts(files, tool, whole, tmp_path, capsys):
    copy = tmp_path / 'copy'
    command = [sys.executable, 'tools/dataset_converters/cityscapes_c.py', str(files / 'minicity'), str(copy), *CELLS]
    result = subprocess.run([*command, '--num-workers', '0'], cwd=REPO, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    tool.main(_arguments(files, tmp_path / 'out', '--corrupted-root', str(copy)))
    for name in ('identity.json', 'results.csv', 'cells/gaussian_noise_5.json', 'worst/0_corrupted.jpg'):
        assert (tmp_path / 'out' / name).read_bytes() == (whole / name).read_bytes()
    shutil.copytree(files / 'minicity', tmp_path / 'minicity')
    for file in (tmp_path / 'minicity/leftImg8bit/val').rglob('*.png'):
        cv2.imwrite(str(file), 255 - cv2.imread(str(file)))
    other = ['--corrupted-root', str(copy), '--cfg-options', f'test_dataloader.dataset.data_root={tmp_path}/minicity']
    capsys.readouterr()
    with pytest.raises(SystemExit):
        tool.main(_arguments(files, tmp_path / 'negative', *other))
    assert 'under this corruption: the copy was made of other images' in capsys.readouterr().err
    assert not (tmp_path / 'negative/cells').exists()
    next(copy.rglob('*contrast/5/**/*.png')).unlink()
    with pytest.raises(SystemExit):
        tool.main(_arguments(files, tmp_path / 'other', '--corrupted-root', str(copy)))


def test_worst_images_are_shown(whole):
    content = json.loads((whole / 'results.json').read_text())
    first = content['worst'][0]
    cell = Confusion.from_json((whole / f'cells/{first["cell"]}.json').read_text())
    ious = {
        name: np.nanmean(100 * i / np.where(p + t - i, p + t - i, np.nan)) for name, (i, p, t) in cell.images.items()
    }
    assert min(ious, key=ious.get) == first['image'] and first['mIoU'] == pytest.approx(min(ious.values()))
    panels = {path.name for path in (whole / 'worst').glob('0_*')}
    assert panels == {'0_clean.jpg', '0_corrupted.jpg', '0_truth.png', '0_prediction.png', '0_errors.png'}
    clean, corrupted = (cv2.imread(str(whole / f'worst/0_{kind}.jpg')).astype(int) for kind in ('clean', 'corrupted'))
    original = cv2.imread(str(next((whole.parents[1]).glob(f'robustness*/minicity/{first["image"]}')))).astype(int)
    assert np.abs(clean - original).mean() < 12 < np.abs(corrupted - original).mean()
    assert (whole / 'results.html').read_text().count('data:image/') >= 5 * len(content['worst'])


def test_worst_images_of_another_model(files, tool, whole, tmp_path, capsys):
    shown = json.loads((whole / 'results.json').read_text())['worst']
    tool.main(_arguments(files, tmp_path / 'same', '--worst-of', str(whole / 'results.json'), '--worst', '2'))
    assert json.loads((tmp_path / 'same/results.json').read_text())['worst'] == shown[:2]
    # whatever is worst there under gaussian_noise is not in this run
    capsys.readouterr()
    few = ['--corruptions', 'contrast', '--worst-of', str(whole / 'results.json')]
    tool.main(_arguments(files, tmp_path / 'few', *few))
    here = [case for case in shown if case['cell'].startswith('contrast')]
    said = f'of its {len(shown)}, {len(shown) - len(here)} are not in this run and are left out: '
    assert json.loads((tmp_path / 'few/results.json').read_text())['worst'] == here and len(here) < len(shown)
    assert said in capsys.readouterr().out and said in (tmp_path / 'few/results.html').read_text()
    with pytest.raises(SystemExit):
        tool.main(_acdc_arguments(files, tmp_path / 'acdc', '--worst-of', str(whole / 'results.json')))
    assert 'worst_of must be results on acdc with worst images, got' in capsys.readouterr().err


ACDC = ['--benchmark', 'acdc', '--num-workers', '0', '--device', 'cpu']


def _acdc_arguments(files, out, *options):
    data = ['--data-root', str(files / 'minicity/acdc'), '--out', str(out)]
    return [str(files / 'toy.py'), str(files / 'toy.pth'), *ACDC, *data, *options]


def test_acdc(files, tool, tmp_path, capsys):
    for index in (1, 0):
        tool.main(_acdc_arguments(files, tmp_path, '--shard', f'{index}/2'))
    assert '| fog | night | rain | snow | mean | pooled |' in capsys.readouterr().out
    results = json.loads((tmp_path / 'results.json').read_text())['results']
    cells = {name: Confusion.from_json((tmp_path / f'cells/{name}.json').read_text()) for name in results['conditions']}
    assert list(cells) == ['fog', 'night', 'rain', 'snow']
    for name, cell in cells.items():
        assert len(cell.images) == 2 and all(f'/{name}/val/' in image for image in cell.images)
        assert results['conditions'][name]['mIoU'] == mean_iou(cell.confusion)
    assert results['pooled_mIoU'] == mean_iou(sum(cell.confusion for cell in cells.values()))
    assert {path.name for path in (tmp_path / 'worst').glob('0_*')} == {
        '0_image.jpg',
        '0_truth.png',
        '0_prediction.png',
        '0_errors.png',
    }
    tool.main(_acdc_arguments(files, tmp_path / 'two', '--conditions', 'rain', '--max-images', '1'))
    assert len(Confusion.from_json((tmp_path / 'two/cells/rain.json').read_text()).images) == 1


def _acdc_without_labels(files, root):
    """The images of the split val as those of the split test, whose labels are withheld."""
    shutil.copytree(files / 'minicity/acdc/rgb_anon', root / 'rgb_anon')
    for folder in root.glob('rgb_anon/*/val'):
        folder.rename(folder.with_name('test'))
    return root


def test_acdc_test_split_becomes_a_zip_for_the_server(files, tool, tmp_path, capsys):
    root = _acdc_without_labels(files, tmp_path / 'acdc')
    tool.main(_acdc_arguments(files, tmp_path / 'out', '--data-root', str(root), '--split', 'test'))
    assert 'acdc_test.zip: 8 predictions' in capsys.readouterr().out
    names = {path.name for path in root.glob('rgb_anon/*/test/*/*.png')}
    with zipfile.ZipFile(tmp_path / 'out/acdc_test.zip') as archive:
        assert set(archive.namelist()) == {f'labelTrainIds/{name}' for name in names}
        png = cv2.imdecode(np.frombuffer(archive.read(archive.namelist()[0]), np.uint8), -1)
    assert png.shape == (32, 64) and png.max() <= 18
    assert not (tmp_path / 'out/results.json').exists()
    # a prediction that is gone is made again, and the zip is the same
    before = (tmp_path / 'out/acdc_test.zip').read_bytes()
    (tmp_path / 'out/labelTrainIds' / min(names)).unlink()
    tool.main(_acdc_arguments(files, tmp_path / 'out', '--data-root', str(root), '--split', 'test'))
    assert (tmp_path / 'out/acdc_test.zip').read_bytes() == before


@pytest.mark.parametrize('split', ['val', 'test'])
def test_acdc_is_not_predicted_by_a_model_of_other_classes(files, tool, tmp_path, capsys, split):
    """Neither of four classes, nor of 19 others, whether checkpoint or config says so."""
    content = torch.load(files / 'toy.pth', weights_only=True)
    others = [f'kind_{index}' for index in range(19)]
    torch.save(content | {'meta': {'dataset_meta': {'classes': others}}}, tmp_path / 'others.pth')
    four = {key: value[:4] if 'conv_seg' in key else value for key, value in content['state_dict'].items()}
    torch.save({'state_dict': four}, tmp_path / 'four.pth')
    root = files / 'minicity/acdc' if split == 'val' else _acdc_without_labels(files, tmp_path / 'acdc')
    own = 'test_dataloader.dataset.'
    said = "19 ('kind_0', 'kind_1', 'kind_2', 'kind_3', ...), got 19 ('road', 'sidewalk', 'building', 'wall', ...)"
    for checkpoint, options, sentence in (
        (tmp_path / 'four.pth', ['model.decode_head.num_classes=4'], 'got 4 outputs and 19 classes'),
        (tmp_path / 'others.pth', ['randomness.seed=0'], said),
        (files / 'toy.pth', [f'{own}type=BaseSegDataset', f'{own}metainfo.classes={",".join(others)}'], said),
    ):
        split_of = ['--data-root', str(root), '--split', split]
        arguments = _acdc_arguments(files, tmp_path / 'out', *split_of, '--cfg-options', *options)
        arguments[1] = str(checkpoint)
        with pytest.raises(SystemExit):
            tool.main(arguments)
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


HEADS = {
    'deeplabv3plus': """dict(
        type='DepthwiseSeparableASPPHead', in_channels=16, in_index=3, channels=8, dilations=(1, 2),
        c1_in_channels=2, c1_channels=4, num_classes=19, norm_cfg=dict(type='SyncBN'), align_corners=False)""",
    'pspnet': """dict(
        type='PSPHead', in_channels=16, in_index=3, channels=8, pool_scales=(1, 2), num_classes=19,
        norm_cfg=dict(type='SyncBN'), align_corners=False)""",
}
CONVOLUTIONAL = """
_base_ = './toy.py'
model = dict(
    backbone=dict(
        _delete_=True, type='ResNetV1c', depth=18, base_channels=2, stem_channels=4, norm_cfg=dict(type='SyncBN'),
        strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), out_indices=(0, 1, 2, 3), contract_dilation=True),
    decode_head=dict(_delete_=True, **HEAD),
    auxiliary_head=dict(
        type='FCNHead', in_channels=8, in_index=2, channels=4, num_convs=1, num_classes=19,
        norm_cfg=dict(type='SyncBN'), align_corners=False),
    test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(24, 24)))
"""


@pytest.mark.parametrize('name', HEADS)
def test_other_models_of_mmsegmentation(files, tool, tmp_path, name):
    config = files / f'{name}.py'
    config.write_text(CONVOLUTIONAL.replace('HEAD', HEADS[name]))
    model = MODELS.build(Config.fromfile(config).model | dict(_scope_='mmseg'))
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    arguments = _arguments(files, tmp_path / 'out')
    arguments[:2] = [str(config), str(tmp_path / 'weights.pth')]
    tool.main(arguments)
    assert 0 <= json.loads((tmp_path / 'out/results.json').read_text())['results']['mPC'] < 50


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--corruptions', 'dust'], "got 'dust'"),
        (['--severities', '6'], 'severity must be 1 to 5, got 6'),
        (['--severities', '0'], 'severity must be 1 to 5, got 0'),
        (['--shard', '3/3'], 'got 3/3'),
        (['--shard', '0/0'], 'a shard must be one of 1 or more, such as 0/3, got 0/0'),
        (['--num-workers', '-1'], 'num_workers must be 0 or more, got -1'),
        (['--batch-size', '0'], 'batch_size must be 1 or more, got 0'),
        (['--window-batch', '0'], 'window_batch must be 1 or more, got 0'),
        (['--worst', '-1'], 'worst must be 0 or more, got -1'),
        (['--device', 'banana'], 'the device must be cpu or a GPU'),
        (['--shard', 'one'], "--shard takes I/N such as 0/3, got 'one'"),
        (['--window-batch', '4'], "where test_cfg.mode is not 'slide', got 4 and 'whole'"),
        (['--max-images', '0'], 'max_images must be 1 or more, got 0'),
        (['--split', 'val'], 'split is for the benchmark acdc, not cityscapes-c'),
        (['--corrupted-root', '/nowhere'], '/nowhere'),
        (['--cfg-options', 'test_dataloader.dataset.data_root=/nowhere'], '/nowhere'),
    ],
)
def test_bad_input_is_one_sentence(files, tool, tmp_path, capsys, options, sentence):
    with pytest.raises(SystemExit) as stopped:
        tool.main(_arguments(files, tmp_path, *options))
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err.strip().splitlines()[-1]


def test_results_of_another_checkpoint_are_refused_with_both_hashes(files, tool, whole, tmp_path, capsys):
    other = torch.load(files / 'toy.pth', weights_only=True)
    other['state_dict']['decode_head.conv_seg.bias'] += 1
    torch.save(other, tmp_path / 'other.pth')
    arguments = _arguments(files, whole)
    arguments[1] = str(tmp_path / 'other.pth')
    before = _contents(whole)
    with pytest.raises(SystemExit):
        tool.main(arguments)
    identity = json.loads((whole / 'identity.json').read_text())
    error = capsys.readouterr().err
    assert identity['checkpoint_sha256'] in error and error.count('checkpoint_sha256') == 1
    assert _contents(whole) == before


@pytest.mark.parametrize(
    ('kind', 'options', 'sentence'),
    [
        ('leftImg8bit', (), "images_sha256.clean '[0-9a-f]{64}' there and '[0-9a-f]{64}' here; data_root '.*' there"),
        ('gtFine', (), "images_sha256.clean '[0-9a-f]{64}' there and '[0-9a-f]{64}' here; data_root '.*' there"),
        (None, ['test_dataloader.dataset.max_refetch=5'], 'dataset.max_refetch nothing there and 5 here'),
        (None, ['model.data_preprocessor.mean=[120,127.5,127.5]'], r'mean \[127.5, 127.5, 127.5\] there and \[120'),
        (None, ['test_dataloader.dataset.data_prefix.img_path=leftImg8bit/train',
                'test_dataloader.dataset.data_prefix.seg_map_path=gtFine/train'], 'num_images 4 there and 2 here'),
    ],
    ids=['images', 'labels', 'dataset', 'preprocessing', 'split'],
)  # fmt: skip
def test_results_of_other_data_are_refused(files, tool, whole, tmp_path, capsys, kind, options, sentence):
    """Of the same names and number; and nothing is written."""
    shutil.copytree(files / 'minicity', tmp_path / 'minicity')
    if kind:
        file = sorted(
            (tmp_path / 'minicity').glob(f'{kind}/val/*/*{"_labelTrainIds" if kind == "gtFine" else ""}.png')
        )[1]
        image = cv2.imread(str(file), -1)
        image[5, 5] = 1
        cv2.imwrite(str(file), image)
    root = f'test_dataloader.dataset.data_root={tmp_path}/minicity'
    before = _contents(whole)
    with pytest.raises(SystemExit):
        tool.main(_arguments(files, whole, '--cfg-options', root, *options))
    assert re.search(rf'holds results of another run \(.*{sentence}', capsys.readouterr().err)
    assert _contents(whole) == before


def test_the_same_data_elsewhere_continue(files, tool, whole, tmp_path):
    shutil.copytree(files / 'minicity', tmp_path / 'data/copy')
    shutil.copytree(whole, tmp_path / 'out')
    (tmp_path / 'out/cells/contrast_2.json').unlink()
    root = ['--cfg-options', f'test_dataloader.dataset.data_root={tmp_path}/data/copy']
    tool.main(_arguments(files, tmp_path / 'out', *root))
    for name in ('identity.json', 'cells/contrast_2.json', 'results.csv'):
        assert (tmp_path / 'out' / name).read_bytes() == (whole / name).read_bytes()
    assert json.loads((tmp_path / 'out/results.json').read_text())['provenance']['data_root'] == f'{tmp_path}/data/copy'


def test_provenance_says_what_was_evaluated_and_with_what(whole):
    provenance = json.loads((whole / 'results.json').read_text())['provenance']
    assert provenance['model'] == 'MixVisionTransformer'
    assert provenance['mean'] == [127.5] * 3 and provenance['std'] == [60.0] * 3
    assert list(provenance['images_sha256']) == ['clean'] and provenance['data_root'].endswith('/minicity')
    dataset = provenance['merged_config']['test_dataloader']['dataset']
    assert dataset == json.loads((whole / 'identity.json').read_text())['merged_config']['test_dataloader']['dataset']


def test_classes_and_colours_are_those_of_the_data(files, tool, tmp_path):
    """In results.json, and from there on the page of several runs."""
    (tmp_path / 'own.py').write_text(
        f'_base_ = {str(files / "toy.py")!r}\n'
        "names, colors = [f'class {place}' for place in range(19)], [[place, 7, 9] for place in range(19)]\n"
        "test_dataloader = dict(dataset=dict(type='BaseSegDataset', img_suffix='_leftImg8bit.png',\n"
        "    seg_map_suffix='_gtFine_labelTrainIds.png', metainfo=dict(classes=names, palette=colors)))\n"
    )
    arguments = _arguments(files, tmp_path / 'out', '--corruptions', 'contrast', '--severities', '5')
    tool.main([str(tmp_path / 'own.py'), *arguments[1:]])
    content = json.loads((tmp_path / 'out/results.json').read_text())
    assert content['classes'][3] == 'class 3' and content['palette'][3] == [3, 7, 9]
    page = str(tmp_path / 'page.html')
    load_tool('analysis_tools/compare_robustness.py').main([str(tmp_path / 'out'), '--out', page])
    text = Path(page).read_text()
    assert 'background:rgb(3,7,9)' in text and 'class 3' in text and 'traffic light' not in text


def test_a_cell_of_other_images_is_refused(files, tool, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / 'out')
    cell = tmp_path / 'out/cells/contrast_5.json'
    cell.write_text(cell.read_text().replace('aachen', 'ulm').replace('leftImg8bit/val', 'leftImg8bit/test'))
    with pytest.raises(SystemExit):
        tool.main(_arguments(files, tmp_path / 'out'))
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'contrast_5.json is damaged (it is of 4 images and the data have 4;' in sentence and 'remove it' in sentence


SLIDE = [
    '--cfg-options', 'model.test_cfg.mode=slide', 'model.test_cfg.crop_size=(32,48)', 'model.test_cfg.stride=(16,32)'
]  # fmt: skip


def _moved(folder, other):
    """Share of the pixels that two runs count in different places, over all cells."""
    found, expected = (
        [Confusion.from_json(path.read_text()).confusion for path in sorted(run.glob('cells/*.json'))]
        for run in (folder, other)
    )
    assert len(found) == len(expected) == 5
    return np.abs(np.subtract(found, expected)).sum() / 2 / np.sum(expected)


def test_low_precision_is_part_of_the_identity(files, tool, whole, tmp_path, capsys):
    assert 'precision' not in json.loads((whole / 'identity.json').read_text()), 'folders of before stay what they are'
    tool.main(_arguments(files, tmp_path, '--amp'))
    assert json.loads((tmp_path / 'results.json').read_text())['provenance']['precision'] == 'bfloat16'
    assert '<td class="text">bfloat16</td>' in (tmp_path / 'results.html').read_text()
    assert 0 < _moved(tmp_path, whole) < 0.01, 'predicted in float32, or wrongly'
    for folder, options in ((tmp_path, ()), (whole, ['--amp'])):
        before = _contents(folder)
        with pytest.raises(SystemExit):
            tool.main(_arguments(files, folder, *options))
        there, here = ('float32', 'bfloat16') if options else ('bfloat16', 'float32')
        assert f"another run (precision '{there}' there and '{here}' here): give" in capsys.readouterr().err
        assert _contents(folder) == before


def test_windows_in_batches_change_nothing(files, tool, tmp_path):
    tool.main(_arguments(files, tmp_path / 'one', *SLIDE))
    tool.main([*_arguments(files, tmp_path / 'four', '--window-batch', '4', '--batch-size', '3'), *SLIDE])
    assert _contents(tmp_path / 'four') == _contents(tmp_path / 'one')


def test_compiled(files, tool, whole, tmp_path, monkeypatch):
    """Traced, but not turned into other code, which would take half a minute."""
    compiled = []

    def compile_(function, **options):
        compiled.append(type(function.__self__).__name__)
        return compiler(function, backend='aot_eager', **options)

    compiler = torch.compile
    monkeypatch.setattr(torch, 'compile', compile_)
    tool.main(_arguments(files, tmp_path, '--compile'))
    assert compiled == ['MixVisionTransformer', 'SegformerHead']
    assert json.loads((tmp_path / 'results.json').read_text())['provenance']['compile'] is True
    assert (tmp_path / 'identity.json').read_bytes() == (whole / 'identity.json').read_bytes()
    assert _moved(tmp_path, whole) < 0.0005


@pytest.mark.slow
def test_all_that_is_fast_at_once(files, tool, whole, tmp_path):
    """With the code that PyTorch generates."""
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*cannot be compiled')
        tool.main(_arguments(files, tmp_path, '--amp', '--compile', '--batch-size', '2'))
    assert 0 < _moved(tmp_path, whole) < 0.01


@pytest.fixture(scope='module')
def slid_on_cpu(files, tool, tmp_path_factory):
    """The folder of results that three tests on a GPU are compared with."""
    out = tmp_path_factory.mktemp('slid')
    tool.main([*_arguments(files, out), *SLIDE])
    return out


@pytest.mark.gpu
@pytest.mark.parametrize(
    ('options', 'moved'),
    [([], 0.002), (['--window-batch', '4', '--batch-size', '3'], 0.002), (['--amp', '--compile'], 0.01)],
    ids=['as it is', 'batches', 'amp and compiled'],
)
def test_a_gpu_counts_what_a_cpu_counts(files, tool, tmp_path, slid_on_cpu, options, moved):
    tool.main([*_arguments(files, tmp_path, *options), '--device', 'cuda:0', *SLIDE])
    assert _moved(tmp_path, slid_on_cpu) < moved


@pytest.fixture
def street(tmp_path):
    """A data root of one street, and a function that replaces its image or label."""
    root = tmp_path / 'street'
    write_minicity(root, MiniCityParams(num_train=1, num_val=1, num_acdc=0, size=(64, 32)))

    def replace(kind, change):
        file = next(root.glob(f'{kind}/val/*/*{"_labelTrainIds" if kind == "gtFine" else ""}.png'))
        cv2.imwrite(str(file), change(cv2.imread(str(file), -1)))
        return file

    return root, replace


def _on(files, root, out, *options):
    return _arguments(files, out, '--cfg-options', f'test_dataloader.dataset.data_root={root}', *options)


def test_a_model_that_is_never_right_has_results_but_no_retention(files, tool, street, tmp_path):
    weights = torch.load(files / 'toy.pth', weights_only=True)
    weights['state_dict']['decode_head.conv_seg.bias'][16] += 1e6
    root, replace = street
    replace('gtFine', lambda label: np.where(label == 16, 255, label).astype(np.uint8))
    torch.save(weights, tmp_path / 'absent.pth')
    arguments = _on(files, root, tmp_path / 'out', '--corruptions', 'contrast', '--severities', '5')
    tool.main([arguments[0], str(tmp_path / 'absent.pth'), *arguments[2:]])
    text = (tmp_path / 'out/results.json').read_text()
    results = json.loads(text, parse_constant=lambda name: pytest.fail(f'{name} is no JSON'))['results']
    assert results['clean_mIoU'] == results['mPC'] == 0
    assert results['retention'] is None and results['retention_interval'] == [None, None]
    assert results['bootstrap']['retention'] == [None] * 1000
    assert '| 0.00 | 0.00 | - |' in (tmp_path / 'out/results.md').read_text()


def test_small_image_is_named(files, tool, street, tmp_path, capsys):
    root, replace = street
    file = replace('leftImg8bit', lambda image: image[:20, :40])
    replace('gtFine', lambda label: label[:20, :40])
    with pytest.raises(SystemExit):
        tool.main(_on(files, root, tmp_path / 'out'))
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert '40 x 20' in error and file.name in error
    assert (tmp_path / 'out/cells/clean.json').exists(), 'the clean cell was finished and must stay'


@pytest.mark.parametrize(
    'change',
    [
        lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2BGRA),
        lambda image: image.astype(np.uint16) * 257,
        lambda image: image,
    ],
    ids=['RGBA', '16-bit', 'as it is'],
)
def test_other_kinds_of_png_are_loaded_as_the_image_that_they_show(files, tool, street, tmp_path, change):
    root, replace = street
    tool.main(_on(files, root, tmp_path / 'plain'))
    replace('leftImg8bit', change)
    tool.main(_on(files, root, tmp_path / 'other'))
    for name in ('clean', 'contrast_5', 'gaussian_noise_2'):
        assert (tmp_path / f'plain/cells/{name}.json').read_text() == (
            tmp_path / f'other/cells/{name}.json'
        ).read_text()


@pytest.mark.parametrize('options', [(), ('--shard', '1/2')])
def test_images_without_any_label_are_refused_before_the_second_cell(files, tool, street, tmp_path, capsys, options):
    root, replace = street
    replace('gtFine', lambda label: np.full_like(label, 255))
    with pytest.raises(SystemExit):
        tool.main(_on(files, root, tmp_path / 'out', *options))
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    cell = 'gaussian_noise_2' if options else 'clean'
    assert f'no pixel is labelled in the 1 images of {cell} in {root}: every label is 255' in sentence
    assert not (tmp_path / 'out/cells').exists()


def test_greyscale_is_loaded_as_grey_colours(files, tool, street, tmp_path):
    root, replace = street
    replace('leftImg8bit', lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR))
    tool.main(_on(files, root, tmp_path / 'plain'))
    replace('leftImg8bit', lambda image: image[..., 0])
    tool.main(_on(files, root, tmp_path / 'other'))
    for name in ('clean', 'contrast_5'):
        assert (tmp_path / f'plain/cells/{name}.json').read_text() == (
            tmp_path / f'other/cells/{name}.json'
        ).read_text()


@pytest.mark.parametrize('workers', ['0', '2'])
def test_missing_label_is_named(files, tool, street, tmp_path, capsys, workers):
    root, replace = street
    file = replace('gtFine', lambda label: label)
    file.unlink()
    with pytest.raises(SystemExit) as stopped:
        tool.main(_on(files, root, tmp_path / 'out', '--num-workers', workers))
    assert stopped.value.code == 2
    assert file.name in capsys.readouterr().err.strip().splitlines()[-1]


def test_folder_that_cannot_be_written(files, tool, tmp_path, capsys):
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit) as stopped:
        tool.main(_arguments(files, tmp_path / 'file/out'))
    assert stopped.value.code == 2 and str(tmp_path / 'file') in capsys.readouterr().err.strip().splitlines()[-1]


def test_full_disk_keeps_finished_cells(files, tool, whole, tmp_path, capsys, monkeypatch):
    """The disk is full when the second corruption is written; when there is room again the run ends as usual."""
    replace = os.replace

    def full(source, target):
        if Path(target).name == 'contrast_2.json':
            raise OSError(28, 'No space left on device')
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', full)
        with pytest.raises(SystemExit) as stopped:
            tool.main(_arguments(files, tmp_path))
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'No space left on device, nothing was changed' in error and 'contrast_2.json' in error
    kept = {path.name for path in (tmp_path / 'cells').iterdir()}
    assert kept == {'clean.json', 'gaussian_noise_2.json', 'gaussian_noise_5.json'}
    tool.main(_arguments(files, tmp_path))
    assert _contents(tmp_path) == _contents(whole)


def test_drawn_weather_over_minicity(files, tool, tmp_path, capsys):
    """Fog at severity 3 is that of ACDC's layout: the same counts for the same streets; elsewhere it is refused."""
    common = [str(files / 'toy.py'), str(files / 'toy.pth'), '--num-workers', '0', '--device', 'cpu']
    cells = ['--conditions', 'fog', '--severities', '1', '3', '--worst', '1']
    tool.main([*common, '--benchmark', 'minicity-weather', *cells, '--out', str(tmp_path / 'drawn')])
    acdc = ['--benchmark', 'acdc', '--data-root', str(files / 'minicity/acdc'), '--conditions', 'fog']
    tool.main([*common, *acdc, '--out', str(tmp_path / 'acdc')])
    drawn, real = (
        json.loads((tmp_path / name).read_text())['images']
        for name in ('drawn/cells/fog_3.json', 'acdc/cells/fog.json')
    )
    assert len(drawn) == 4 and len(real) == 2
    by_street = {int(Path(name).name.split('_')[1]): of for name, of in drawn.items()}
    assert [by_street[index] for index in range(2)] == [real[name] for name in sorted(real)]
    results = json.loads((tmp_path / 'drawn/results.json').read_text())
    assert set(results['results']['cells']) == {'fog_1', 'fog_3'}
    assert results['layout']['title'] == 'MiniCity weather' and results['provenance']['minicity'] == 2
    capsys.readouterr()
    other = tmp_path / 'other'
    shutil.copytree(files / 'minicity', other)
    (other / 'minicity.json').unlink()
    with pytest.raises(SystemExit):
        tool.main(
            [*common, '--benchmark', 'minicity-weather', '--data-root', str(other), '--out', str(tmp_path / 'none')]
        )
    assert 'the images must be those of a MiniCity folder' in capsys.readouterr().err


@pytest.mark.parametrize('region', ['8,4,40,28', 'road'])
def test_region(files, tool, tmp_path, region):
    """mIoU inside and outside is that of a plain count over the pixels of each; clean is the whole image."""
    out = tmp_path / 'out'
    options = ['--corruptions', 'contrast', '--severities', '5', '--region', region, '--worst', '1']
    tool.main([*_arguments(files, out, *options)])
    content = json.loads((out / 'results.json').read_text())
    assert content['provenance']['region'] == region
    cells = {name: json.loads((out / f'cells/{name}.json').read_text()) for name in ('clean', 'contrast_5')}
    for name, of in cells.items():
        whole, inside = (json.loads(of[part]) for part in ('whole', 'inside'))
        inside_confusion = np.array(inside['confusion'])
        outside = np.array(whole['confusion']) - inside_confusion
        labels = [cv2.imread(str(path), -1) for path in (files / 'minicity/gtFine/val').rglob('*labelTrainIds.png')]
        masks = [label == 0 for label in labels]
        if region != 'road':
            masks = [np.zeros(label.shape, bool) for label in labels]
            for mask in masks:
                mask[4:28, 8:40] = True
        pixels = [label[mask & (label != 255)] for label, mask in zip(labels, masks, strict=True)]
        counted = np.bincount(np.concatenate(pixels), minlength=19)
        np.testing.assert_array_equal(inside_confusion.sum(1), counted)
        for part, confusion in (('inside', inside_confusion), ('outside', outside)):
            there = np.flatnonzero(confusion.sum(1))
            union = confusion.sum(0) + confusion.sum(1) - np.diagonal(confusion)
            plain = np.mean([100 * confusion[k, k] / union[k] for k in there])
            row = 'clean' if name == 'clean' else 'contrast'
            assert content['results']['regions'][row][part] == pytest.approx(plain)
    assert 'Inside and outside of the region' in (out / 'results.html').read_text()
    assert f'Only the region {region} of each image is corrupted.' in content['layout']['sentences']


def test_other_region_is_another_run(files, tool, tmp_path, capsys):
    options = ['--corruptions', 'contrast', '--severities', '5', '--worst', '0']
    tool.main([*_arguments(files, tmp_path, *options)])
    for region, said in (('road', "region 'nothing'|region nothing there"), ('boat', 'region must be x0,y0,x1,y1')):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            tool.main([*_arguments(files, tmp_path, *options, '--region', region)])
        assert re.search(said, capsys.readouterr().err)
