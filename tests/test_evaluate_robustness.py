"""tools/evaluate_robustness.py on MiniCity, with a model of MMSegmentation's own."""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.evaluation import IoUMetric
from mmseg.registry import MODELS

from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from mmrobust.evaluation.benchmarks import CellResult
from mmrobust.evaluation.functional import mean_iou

REPO = Path(__file__).parents[1]
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
    write_minicity(folder / 'minicity', MiniCityParams(num_train=1, num_val=4, num_acdc=0, size=(64, 32)))
    config = folder / 'toy.py'
    config.write_text(CONFIG.replace('DATA', str(folder / 'minicity')))
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model | dict(_scope_='mmseg'))
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    torch.save({'state_dict': model.state_dict()}, folder / 'toy.pth')
    return folder


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('evaluate_robustness', REPO / 'tools/evaluate_robustness.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


@pytest.mark.parametrize('options', [['--num-workers', '2'], ['--batch-size', '3']], ids=['workers', 'batches'])
def test_nothing_depends_on_workers_and_batches(files, tool, whole, tmp_path, options):
    tool.main(_arguments(files, tmp_path, *options))
    assert _contents(tmp_path) == _contents(whole)


def test_shards_merge_exactly(files, tool, whole, tmp_path, capsys):
    for index in (2, 0, 1):
        assert not (tmp_path / 'results.json').exists()
        tool.main(_arguments(files, tmp_path, '--shard', f'{index}/3'))
    assert 'left to other processes' in capsys.readouterr().out
    assert _contents(tmp_path) == _contents(whole)


def test_killed_and_continued(files, tool, whole, tmp_path):
    command = [sys.executable, 'tools/evaluate_robustness.py', *_arguments(files, tmp_path)]
    process = subprocess.Popen(command, cwd=REPO, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / 'cells/clean.json').exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'results.json').exists(), 'killed too late to prove anything'
    tool.main(_arguments(files, tmp_path))
    assert {name for name in _contents(tmp_path) if not name.endswith('.tmp')} == set(_contents(whole))
    assert all(_contents(tmp_path)[name] == content for name, content in _contents(whole).items())


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
        picture = corrupt(cv2.imread(str(file))[..., ::-1], 'contrast', 5, np.random.default_rng(0))[..., ::-1]
        label = cv2.imread(str(file).replace('leftImg8bit', 'gtFine').replace('.png', '_labelTrainIds.png'), -1)
        prediction = inference_model(model, np.ascontiguousarray(picture)).pred_sem_seg.data.squeeze(0)
        results.append(IoUMetric.intersect_and_union(prediction, torch.from_numpy(label), 19, 255))
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=tuple(range(19)))
    cell = CellResult.from_json((whole / 'cells/contrast_5.json').read_text())
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


def test_part_of_the_pictures(files, tool, tmp_path):
    tool.main(_arguments(files, tmp_path, '--max-images', '2'))
    cell = CellResult.from_json((tmp_path / 'cells/clean.json').read_text())
    assert len(cell.images) == 2
    assert json.loads((tmp_path / 'results.json').read_text())['provenance']['num_images'] == 2


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--corruptions', 'dust'], "got 'dust'"),
        (['--severities', '6'], 'severity must be 1 to 5, got 6'),
        (['--severities', '0'], 'severity must be 1 to 5, got 0'),
        (['--shard', '3/3'], 'got 3/3'),
        (['--shard', 'one'], "--shard takes I/N such as 0/3, got 'one'"),
        (['--max-images', '0'], 'max_images must be 1 or more, got 0'),
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


def test_small_picture_is_named(files, tool, tmp_path, capsys):
    root = tmp_path / 'small'
    write_minicity(root, MiniCityParams(num_train=1, num_val=1, num_acdc=0, size=(64, 32)))
    for file in root.rglob('*val*/**/*.png'):
        cv2.imwrite(str(file), cv2.imread(str(file), -1)[:20, :40])
    with pytest.raises(SystemExit):
        tool.main(_arguments(files, tmp_path / 'out', '--cfg-options', f'test_dataloader.dataset.data_root={root}'))
    assert '40 x 20' in capsys.readouterr().err
