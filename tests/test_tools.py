"""The command line tools, called in this process; only the distributed run needs processes of its own."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from mmseg.visualization import SegLocalVisualizer
from torch import nn

from mmrobust.datasets.cityscapes import LABEL_IDS
from tests.tool_loading import load_tool

ROOT = Path(__file__).resolve().parents[1]
TOOLS = [
    'train.py',
    'test.py',
    'evaluate_robustness.py',
    'reproduce.py',
    'image_demo.py',
    'misc/print_config.py',
    'misc/browse_dataset.py',
    'analysis_tools/attention_statistics.py',
    'analysis_tools/visualize_attention.py',
    'analysis_tools/visualize_segmentation.py',
    'analysis_tools/plot_sweep.py',
    'analysis_tools/adl_forms.py',
    'analysis_tools/get_flops.py',
    'analysis_tools/benchmark.py',
    'analysis_tools/benchmark_corruptions.py',
    'analysis_tools/check_submission.py',
    'analysis_tools/compare_robustness.py',
    'robustness_card.py',
    'dataset_converters/cityscapes_c.py',
    'dataset_converters/digits.py',
    'model_converters/fan2mmrobust.py',
    'model_converters/rvt2mmrobust.py',
    'model_converters/to_hub.py',
    'export_onnx.py',
    'demo.py',
    'demo_classification.py',
    'dataset_converters/cityscapes.py',
    'dataset_converters/minicity.py',
    'analysis_tools/gpu_check.py',
]

CONFIG = """
default_scope = 'mmseg'
crop_size = (32, 32)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=crop_size, pad_val=0, seg_pad_val=255),
    backbone=dict(
        type='MixVisionTransformer', embed_dims=8, num_stages=1, num_layers=[1], num_heads=[1], patch_sizes=[7],
        strides=[4], sr_ratios=[4], out_indices=(0,)),
    decode_head=dict(
        type='SegformerHead', in_channels=[8], in_index=[0], channels=8, num_classes=19,
        norm_cfg=dict(type='SyncBN'), align_corners=False),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
load = [dict(type='mmrobust.LoadImageFromFile'), dict(type='mmrobust.LoadAnnotations')]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler'),
    dataset=dict(
        type='CityscapesDataset', data_root=DATA_ROOT, data_prefix=dict(img_path='images', seg_map_path='labels'),
        pipeline=[*load, dict(type='RandomCrop', crop_size=crop_size), dict(type='PackSegInputs')]))
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CityscapesDataset', data_root=DATA_ROOT, data_prefix=dict(img_path='images', seg_map_path='labels'),
        pipeline=[*load, dict(type='PackSegInputs')]))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='IoUMetric')
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=100)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2),
    visualization=dict(type='SegVisualizationHook'))
visualizer = dict(type='SegLocalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')])
"""


@pytest.fixture(autouse=True)
def forget_instances():
    """MMEngine keeps loggers, message hubs and visualizers by name, and a name by the second: one process, one run."""
    forget()
    yield
    forget()


def forget() -> None:
    for kind in (DefaultScope, MessageHub, MMLogger, SegLocalVisualizer, Visualizer):
        kind._instance_dict.clear()


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> str:
    """The path of a tiny segmentation config, with three images of 32 x 64 pixels in Cityscapes' form."""
    folder = tmp_path_factory.mktemp('toy')
    labels = np.zeros((32, 64), np.uint8)
    labels[16:], labels[:, 48:], labels[:2] = 1, 13, 255
    for index in range(3):
        for kind, suffix, image in (
            ('images', 'leftImg8bit', np.dstack([labels * 9] * 3)),
            ('labels', 'gtFine_labelTrainIds', labels),
        ):
            (folder / kind).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / kind / f'toy_{index}_{suffix}.png'), image)
    path = folder / 'toy.py'
    path.write_text(CONFIG.replace('DATA_ROOT', repr(str(folder))))
    return str(path)


@pytest.fixture(scope='module')
def checkpoint(config, tmp_path_factory) -> str:
    """A checkpoint of two iterations on one process."""
    folder = tmp_path_factory.mktemp('run')
    load_tool('train.py').main([config, '--work-dir', str(folder), '--no-validate'])
    forget()
    return str(folder / 'iter_2.pth')


def examples_of(text: str) -> list[tuple[str, list[str]]]:
    """Tool and arguments of each command in a help text."""
    lines = [line.strip() for line in re.sub(r'\\\s*\n', ' ', text).splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if line.startswith(('python tools/', 'torchrun '))]
    places = [next(place for place, word in enumerate(of) if word.startswith('tools/')) for of in words]
    return [(of[place].removeprefix('tools/'), of[place + 1 :]) for of, place in zip(words, places, strict=True)]


@pytest.mark.parametrize('name', TOOLS)
def test_help_is_short_and_its_examples_parse(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        load_tool(name).main(['--help'])
    text = capsys.readouterr().out
    usage = text.partition('\n\n')[0]
    assert exit_.value.code == 0 and usage.startswith('usage: ') and usage.endswith('[options]')
    assert len(usage) < 160 and 'depth=12' not in text
    found = examples_of(text)
    assert len(found) >= 3 and found[0][0] == name
    for tool, argv in found:
        module = load_tool(tool)
        if hasattr(module, 'parse_args'):
            module.parse_args(argv)
        else:
            module.conversion.parse_args(module.__doc__, argv)


def test_options_of_an_evaluation_are_grouped_by_benchmark(capsys):
    with pytest.raises(SystemExit):
        load_tool('evaluate_robustness.py').main(['--help'])
    sets = 'imagenet-c, imagenet-c-bar, imagenet-3dcc, tiny-imagenet-c, cifar-10-c, cifar-100-c'
    groups = dict(re.findall(r'^([\w, -]+):\n((?:  .*\n)+)', capsys.readouterr().out, re.MULTILINE))
    for group, option in (
        ('cityscapes-c', '--preset'),
        (f'cityscapes-c, {sets}', '--corruptions'),
        (f'cityscapes-c, minicity-weather, {sets}', '--severities'),
        ('cityscapes-c', '--region'),
        ('cityscapes-c, imagenet-c, adversarial', '--seed'),
        ('acdc', '--split'),
        ('adversarial', '--eps'),
        ('imagenet-p', '--difficulty'),
        ('segmentation models', '--worst-of'),
    ):
        assert [name for name, text in groups.items() if f'  {option} ' in text] == [group]


@pytest.mark.parametrize(
    ('name', 'argv', 'sentence'),
    [
        ('train.py', ['none.py'], "There is no config file 'none.py'"),
        ('test.py', ['none.py', 'none.pth'], "There is no config file 'none.py'"),
        ('test.py', ['CONFIG', 'none.pth'], "There is no checkpoint 'none.pth'"),
        ('train.py', ['CONFIG', '--resume', 'none.pth'], "There is no checkpoint 'none.pth'"),
        ('train.py', ['CONFIG', '--cfg-options', 'key'], "--cfg-options takes key=value pairs, but got 'key'"),
        (
            'train.py',
            ['CONFIG', '--cfg-options', 'model.backbone.type=None1'],
            "got 'None1', which is not in the registry mmseg::model",
        ),
        ('train.py', ['CONFIG', '--auto-scale-lr'], 'needs auto_scale_lr.base_batch_size'),
        ('train.py', ['CONFIG', '--amp', '--cfg-options', 'optim_wrapper.type=Other'], "but got 'Other'"),
        (
            'train.py',
            ['CONFIG', '--compile', '--cfg-options', 'compile=True'],
            "a config without MMEngine's key 'compile'",
        ),
        pytest.param(
            'train.py',
            ['CONFIG', '--cuda-graphs'],
            'needs CUDA, and there is none',
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without CUDA'),
        ),
        ('train.py', ['CONFIG', '--amp', 'half'], "invalid choice: 'half'"),
        pytest.param(
            'train.py',
            ['CONFIG', '--cfg-options', 'optim_wrapper.type=AmpOptimWrapper'],
            'on a CPU, got AmpOptimWrapper: pass --amp,',
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without CUDA'),
        ),
        *(
            (
                'train.py',
                ['CONFIG', '--cfg-options', f'optim_wrapper.constructor={constructor}', *paramwise],
                f'got {constructor}: leave it out and give learning rates by optim_wrapper.paramwise_cfg.custom_keys',
            )
            for constructor, paramwise in (
                (
                    'LearningRateDecayOptimizerConstructor',
                    ['optim_wrapper.paramwise_cfg.num_layers=1', 'optim_wrapper.paramwise_cfg.decay_rate=0.9'],
                ),
                (
                    'mmpretrain.LearningRateDecayOptimWrapperConstructor',
                    ['optim_wrapper.paramwise_cfg.layer_decay_rate=0.9'],
                ),
            )
        ),
        ('train.py', ['CONFIG', '--cfg-options', 'train_dataloader.dataset.data_root=/none'], "'/none/images'"),
        ('test.py', ['CONFIG', 'CONFIG', '--tta'], 'needs tta_model and tta_pipeline'),
        ('test.py', ['CONFIG', 'CONFIG'], 'no PyTorch checkpoint'),
        ('image_demo.py', ['none.png', 'CONFIG', 'none.pth'], "There is no image or folder 'none.png'"),
        ('image_demo.py', ['CONFIG', 'CONFIG', 'none.pth'], 'toy.py'),
        ('misc/print_config.py', ['none.py'], "There is no config file 'none.py'"),
        ('misc/browse_dataset.py', ['CONFIG'], 'give --output-dir, --show or both'),
        (
            'misc/browse_dataset.py',
            ['CONFIG', '--output-dir', 'o', '--number', '-1'],
            'number must be 1 or more, got -1',
        ),
        ('analysis_tools/get_flops.py', ['CONFIG', '--shape', '0'], '--shape takes one or two positive numbers'),
    ],
)
def test_mistake_is_one_sentence(name, argv, sentence, config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        load_tool(name).main([config if argument == 'CONFIG' else argument for argument in argv])
    assert exit_.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'error: ' in last
    assert sentence in last


def test_images_of_two_sizes_in_a_batch_are_one_sentence(config, checkpoint, tmp_path, capsys):
    for kind, suffix in (('images', 'leftImg8bit'), ('labels', 'gtFine_labelTrainIds')):
        (tmp_path / kind).mkdir()
        for size in (32, 48):
            assert cv2.imwrite(
                str(tmp_path / kind / f'{size}_{suffix}.png'),
                np.zeros((size, 64, 3 - 2 * (kind == 'labels')), np.uint8),
            )
    for tool, options in (
        ('test.py', ['--work-dir', str(tmp_path / 'run'), '--cfg-options', 'test_dataloader.batch_size=2']),
        (
            'evaluate_robustness.py',
            ['--device', 'cpu', '--out', str(tmp_path / 'out'), '--batch-size', '2', '--cfg-options'],
        ),
    ):
        with pytest.raises(SystemExit) as exit_:
            load_tool(tool).main([config, checkpoint, *options, f'test_dataloader.dataset.data_root={tmp_path}'])
        assert exit_.value.code == 2
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert 'error: The images of a batch must be of one size, got several: take one image per batch' in last


def test_augmentation_of_a_wrapper_is_refused(config):
    test = load_tool('test.py')
    merged = Config.fromfile(ROOT / 'configs/fan_minicity.py')
    merged.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[])
    with pytest.raises(ValueError, match='must have a pipeline of its own here, got ConcatDataset'):
        test.merge_args(merged, test.parse_args([config, config, '--tta']))


def test_no_loading_processes(config, tmp_path):
    """The shipped configs keep processes and prefetch, which PyTorch refuses where there are none."""
    options = ['train_dataloader.persistent_workers=True', 'val_dataloader.persistent_workers=True']
    others = ['train_dataloader.prefetch_factor=4', 'val_dataloader.timeout=60', 'train_cfg.val_interval=2']
    load_tool('train.py').main([config, '--work-dir', str(tmp_path), '--cfg-options', *options, *others])
    assert (tmp_path / 'iter_2.pth').is_file()


def test_print_config_merges_options(config, capsys):
    load_tool('misc/print_config.py').main([config, '--cfg-options', 'train_cfg.max_iters=7', 'model.new.key=[1,2]'])
    printed = Config.fromstring(capsys.readouterr().out, '.py')
    assert printed.train_cfg.max_iters == 7
    assert printed.model.new.key == [1, 2]


def test_resume_continues_or_starts(config, checkpoint, tmp_path):
    train = load_tool('train.py')
    options = ['--no-validate', '--cfg-options', 'train_cfg.max_iters=4']
    # nothing there yet: start, and keep the config's own load_from
    fresh = Config.fromfile(config)
    fresh.load_from = checkpoint
    train.merge_args(fresh, train.parse_args([config, '--work-dir', str(tmp_path), '--resume']))
    assert not fresh.get('resume')
    assert fresh.load_from == checkpoint
    # last_checkpoint is lost: the hook finds the other one
    (tmp_path / 'iter_12.pth').touch()
    train.merge_args(fresh, train.parse_args([config, '--work-dir', str(tmp_path), '--resume']))
    assert fresh.resume and fresh.load_from is None

    work_dir = Path(checkpoint).parent
    train.main([config, '--work-dir', str(work_dir), '--resume', *options])
    assert torch.load(work_dir / 'iter_4.pth', weights_only=False)['meta']['iter'] == 4
    assert Config.fromfile(work_dir / 'toy.py').resume
    logs = ''.join(log.read_text() for log in work_dir.rglob('*.log'))
    assert f'Load checkpoint from {checkpoint}' in logs and 'resumed epoch: 0, iter: 2' in logs


def test_amp_trains(config, tmp_path):
    load_tool('train.py').main([config, '--work-dir', str(tmp_path), '--amp', '--no-validate'])
    weights = torch.load(tmp_path / 'iter_2.pth', weights_only=False)['state_dict'].values()
    assert all(value.isfinite().all() for value in weights)


def test_compile_adds_a_hook_or_keeps_the_configs_own(config):
    train = load_tool('train.py')
    for options, own, expected in (
        (['--compile'], None, {}),
        (['--cuda-graphs'], None, {'cuda_graphs': True}),
        (['--compile', '--cuda-graphs'], {'parts': ['backbone']}, {'parts': ['backbone'], 'cuda_graphs': True}),
        (['--compile'], {'cuda_graphs': True}, {'cuda_graphs': True}),
    ):
        merged = Config.fromfile(config)
        if own is not None:
            merged.default_hooks.compile = own
        train.merge_args(merged, train.parse_args([config, *options]))
        assert merged.default_hooks.compile == {'type': 'mmrobust.CompileHook', **expected}


def test_compiled_training(config, tmp_path):
    """Of a model and a head that are not of this project."""
    options = ['--cfg-options', 'default_hooks.compile.backend=aot_eager']
    load_tool('train.py').main([config, '--work-dir', str(tmp_path), '--compile', '--amp', '--no-validate', *options])
    weights = torch.load(tmp_path / 'iter_2.pth', weights_only=False)['state_dict']
    assert all(value.isfinite().all() for value in weights.values())
    assert 'backbone.layers.0.0.projection.weight' in weights
    log = next(tmp_path.rglob('*.log')).read_text()
    assert 'Compiled backbone, decode_head: ' in log


def test_compiling_what_cannot_be_compiled_is_one_sentence(config, tmp_path, capsys):
    options = ['--cfg-options', 'default_hooks.compile.backend=unheard_of']
    with pytest.raises(SystemExit) as exit_:
        load_tool('train.py').main([config, '--work-dir', str(tmp_path), '--compile', '--no-validate', *options])
    assert exit_.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'torch.compile does not work here (' in last and 'unheard_of' in last


def test_work_dir_defaults_to_the_config_name(config):
    train = load_tool('train.py')
    merged = Config.fromfile(config)
    train.merge_args(merged, train.parse_args([config]))
    assert Path(merged.work_dir) == Path('work_dirs/toy')


@pytest.mark.parametrize(
    ('text', 'lost'),
    [
        ('', []),
        ("custom_hooks = _base_.custom_hooks + [dict(type='mmrobust.AttentionLogHook')]", []),
        ("# custom_hooks = [dict(type='mmrobust.AttentionLogHook')]", []),
        ("custom_hooks = [dict(type='EMAHook')]", ['SeedIteration', 'StopOnNonFiniteLoss', 'StrictLoad', *[None] * 3]),
        ("custom_hooks = [dict(type='mmrobust.StopOnSigtermHook')]", ['SeedIteration', *[None] * 4]),
    ],
)
def test_hooks_that_a_config_drops_are_named(text, lost, tmp_path):
    (tmp_path / 'base.py').write_text(f"_base_ = '{ROOT}/configs/fan_minicity.py'")
    (tmp_path / 'own.py').write_text(f"_base_ = './base.py'\n{text}\n")
    train, path = load_tool('train.py'), str(tmp_path / 'own.py')
    found = train.lost_hooks(Config.fromfile(path))
    assert len(found) == len(lost)
    assert all(name is None or f'mmrobust.{name}Hook' in found for name in lost)
    if lost:
        with pytest.warns(
            UserWarning, match=r'drops the hooks mmrobust.*custom_hooks = _base_\.custom_hooks \+ \['
        ) as _:
            train.merge_args(Config.fromfile(path), train.parse_args([path]))


@pytest.mark.parametrize('out', ['metrics.json', 'predictions.pkl', 'labels'])
def test_outputs_of_a_test(config, checkpoint, tmp_path, out):
    load_tool('test.py').main([config, checkpoint, '--work-dir', str(tmp_path / 'run'), '--out', str(tmp_path / out)])
    if out == 'metrics.json':
        assert 0 <= json.loads((tmp_path / out).read_text())['mIoU'] <= 100
    elif out == 'labels':
        assert len(list((tmp_path / out).glob('*.png'))) == 3
    else:
        assert (tmp_path / out).stat().st_size > 0


def test_label_maps_of_images_of_the_same_name(config, checkpoint, tmp_path, capsys):
    data, root = tmp_path / 'data', Path(config).parent
    for folder, name in (('a', 'x'), ('b', 'x'), ('b', 'y')):
        for kind, suffix in (('images', 'leftImg8bit'), ('labels', 'gtFine_labelTrainIds')):
            (data / kind / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(root / kind / f'toy_0_{suffix}.png', data / kind / folder / f'{name}_{suffix}.png')
    test, out = load_tool('test.py'), tmp_path / 'out'
    where = f'test_dataloader.dataset.data_root={data}'
    test.main([config, checkpoint, '--work-dir', str(tmp_path), '--out', str(out), '--cfg-options', where])
    found = sorted(str(file.relative_to(out)) for file in out.rglob('*.*'))
    assert found == [f'{name}_leftImg8bit.png' for name in ('a/x', 'b/x', 'b/y')]
    assert cv2.imread(str(out / found[0]), -1).shape == (32, 64)

    class Twins(list):
        get_data_info = list.__getitem__

    twins = Twins({'img_path': f'data/a/x.{suffix}'} for suffix in ('jpg', 'png'))
    with pytest.raises(ValueError, match=r'names of their own, got data/a/x\.jpg and data/a/x\.png for'):
        test.LabelMaps(str(out), twins)


@pytest.fixture
def unlabelled(config, tmp_path) -> Path:
    """Cityscapes' test split, three images: without gtFine; the labels in the folder ``ignored`` are all 255."""
    for index, image in enumerate(sorted(Path(config).parent.glob('images/*.png'))):
        target = tmp_path / f'data/leftImg8bit/test/munich/munich_{index:06}_000019_leftImg8bit.png'
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, target)
        label = tmp_path / f'data/ignored/munich/munich_{index:06}_000019_gtFine_labelTrainIds.png'
        label.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(label), np.full((32, 64), 255, np.uint8))
    return tmp_path / 'data'


UNLABELLED = [
    ("data_prefix=dict(img_path='leftImg8bit/test')", 'data_prefix has no seg_map_path'),
    ("data_prefix=dict(img_path='leftImg8bit/test', seg_map_path='gtFine/test')", '3 of 3 images have no label ('),
    ("data_prefix=dict(img_path='leftImg8bit/test', seg_map_path='ignored')", 'no pixel is labelled in the 3 images'),
]


@pytest.mark.parametrize(('prefix', 'reason'), UNLABELLED)
@pytest.mark.parametrize(
    ('kind', 'options'), [('mmseg.CityscapesDataset', []), ('mmrobust.CityscapesDataset', ['--tta'])]
)
def test_images_without_labels(config, checkpoint, unlabelled, tmp_path, capsys, prefix, reason, options, kind):
    own = tmp_path / 'own.py'
    own.write_text(f"""_base_ = {config!r}
load = [dict(type='mmrobust.LoadImageFromFile'), dict(type='mmrobust.LoadAnnotations')]
tta_model = dict(type='SegTTAModel')
tta_pipeline = [load[0], dict(type='TestTimeAug', transforms=[
    [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)], [load[1]], [dict(type='PackSegInputs')]])]
test_dataloader = dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict(
    _delete_=True, type={kind!r}, data_root={str(unlabelled)!r}, {prefix},
    pipeline=[*load, dict(type='PackSegInputs')]))
""")
    reason = reason if kind.startswith('mmrobust') or reason[0] != '3' else 'of 3 label files none is there'
    options = [own, checkpoint, '--work-dir', tmp_path / 'run', *options]
    said = _refused(capsys, 'test.py', *options)
    assert reason in said and said.count('\n') == 1
    assert reason.startswith('3 of') or '--out DIR writes the predictions' in said
    forget()
    load_tool('test.py').main([*map(str, options), '--out', str(tmp_path / 'test.zip')])
    said = capsys.readouterr().out
    assert f'No metrics: {reason}' in said and 'mIoU' not in said and 'test.zip: 3 predictions for' in said
    label_maps = sorted(path for path in (tmp_path / 'test').rglob('*') if path.is_file())
    assert [str(path.relative_to(tmp_path / 'test')) for path in label_maps] == [
        f'munich/munich_{index:06}_000019_leftImg8bit.png' for index in range(3)
    ]
    with zipfile.ZipFile(tmp_path / 'test.zip') as archive:
        found = cv2.imdecode(np.frombuffer(archive.read('munich_000001_000019_labelIds.png'), np.uint8), -1)
    assert np.array_equal(found, np.array(LABEL_IDS)[cv2.imread(str(label_maps[1]), -1)])


def test_zip_of_data_that_no_server_takes():
    with pytest.raises(ValueError, match='whose servers want one, got list: give a folder'):
        load_tool('test.py').server_of([])


def test_drawings(config, checkpoint, tmp_path):
    load_tool('test.py').main([config, checkpoint, '--work-dir', str(tmp_path), '--show-dir', str(tmp_path / 'drawn')])
    assert len(list((tmp_path / 'drawn').rglob('*.png'))) == 3
    load_tool('misc/browse_dataset.py').main([config, '--output-dir', str(tmp_path / 'browse'), '--number', '2'])
    browsed = sorted((tmp_path / 'browse').glob('*.png'))
    assert len(browsed) == 2
    assert cv2.imread(str(browsed[0])).shape == (32, 32, 3)
    images = Path(config).parent / 'images'
    load_tool('image_demo.py').main(
        [str(images), config, checkpoint, '--out-dir', str(tmp_path / 'demo'), '--device', 'cpu']
    )
    assert len(list((tmp_path / 'demo' / 'vis').glob('*.png'))) == 3


def test_image_is_not_drawn_with_weights_of_another_model(config, checkpoint, tmp_path, capsys):
    other = tmp_path / 'other.py'
    other.write_text(Path(config).read_text().replace('embed_dims=8', 'embed_dims=16').replace('[8]', '[16]'))
    images = str(Path(config).parent / 'images')
    with pytest.raises(SystemExit):
        load_tool('image_demo.py').main([images, str(other), checkpoint, '--out-dir', str(tmp_path / 'demo')])
    assert 'does not fit the model' in capsys.readouterr().err
    assert not (tmp_path / 'demo').exists()


def _refused(capsys, name, *argv):
    """What a tool says in its one sentence, which may go on with a list of keys."""
    forget()
    with pytest.raises(SystemExit) as exit_:
        load_tool(name).main([*map(str, argv)])
    assert exit_.value.code == 2
    return capsys.readouterr().err.split('error: ')[-1]


def test_weights_of_another_model_are_not_tested(config, checkpoint, tmp_path, capsys):
    """The config has no hooks: MMEngine alone would go on with random weights."""
    weights = {'backbone.' + key: torch.zeros(3) for key in ('cls_token', 'pos_embed', 'blocks.0.attn.qkv.weight')}
    torch.save(weights, tmp_path / 'vit.pth')
    assert 'does not fit the model, keys' in _refused(capsys, 'test.py', config, tmp_path / 'vit.pth')
    lenient = tmp_path / 'lenient.py'
    hook = "custom_hooks = [dict(type='mmrobust.StrictLoadHook', strict=False)]"
    lenient.write_text(f'{Path(config).read_text()}\n{hook}\n')
    partly = torch.load(checkpoint, weights_only=False)['state_dict']
    torch.save({key: value for key, value in partly.items() if 'conv_seg' not in key}, tmp_path / 'partly.pth')
    options = ['--work-dir', tmp_path / 'run']
    for path in (lenient, config):
        assert 'keys 2 missing' in _refused(capsys, 'test.py', path, tmp_path / 'partly.pth', *options)
    assert 'keys 2 missing' in _refused(capsys, 'train.py', config, '--resume', tmp_path / 'partly.pth', *options)
    options += ['--no-validate', '--cfg-options', f'load_from={tmp_path}/partly.pth']
    load_tool('train.py').main([config, *map(str, options)])  # to start from parts is for the config to say


def test_classes_that_do_not_fit_are_refused_before_the_first_image(config, checkpoint, tmp_path, capsys):
    other = tmp_path / 'other.pth'
    content = torch.load(checkpoint, weights_only=False)
    names = [*content['meta']['dataset_meta']['classes'][:-1], 'scooter']
    content['meta']['dataset_meta'] = {'classes': names}
    torch.save(content, other)
    options = ['--work-dir', tmp_path / 'run']
    said = "where class 18 is 'bicycle' instead of 'scooter'"
    assert said in _refused(capsys, 'test.py', config, other, *options)
    assert said in _refused(capsys, 'train.py', config, '--resume', other, *options)
    load_tool('test.py').main([config, str(other), *map(str, options), '--cfg-options', 'class_map.scooter=bicycle'])
    four = ['--cfg-options', 'model.decode_head.num_classes=4']
    said = "got 4 outputs and 19 classes ('road', 'sidewalk', 'building', 'wall', ...)"
    assert said in _refused(capsys, 'train.py', config, *options, *four)
    val = tmp_path / 'val.py'
    val.write_text(Path(config).read_text() + "val_dataloader['dataset']['metainfo'] = dict(classes=('road', 'car'))\n")
    assert 'got 19 outputs' in _refused(capsys, 'train.py', val, *options)


class Attention(nn.Module):
    """Two heads over a 4 x 4 grid of tokens; ``head`` is called past its hooks, as MMSegmentation does."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 2, stride=2, bias=False))
        self.qkv = nn.Linear(8, 24, bias=False)
        self.head = nn.Sequential(nn.Linear(8, 5))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        tokens = self.backbone(inputs).flatten(2).transpose(1, 2)
        query, key, value = self.qkv(tokens).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.head.forward(mixed.transpose(1, 2).flatten(2))


def test_flops_equal_the_hand_count():
    tokens, channels, heads = 16, 8, 2
    conv = tokens * channels * 3 * 2 * 2
    qkv = tokens * channels * 24
    attention = heads * 2 * tokens * tokens * (channels // heads)
    head = tokens * channels * 5
    rows = load_tool('analysis_tools/get_flops.py').count(Attention(), (8, 8))
    assert rows == {
        'backbone': (96, conv),
        'qkv': (192, qkv),
        'head': (45, head),
        'whole': (333, conv + qkv + attention + head),
    }


def test_flops_of_a_config(config, capsys):
    load_tool('analysis_tools/get_flops.py').main([config, '--shape', '32', '64'])
    printed = capsys.readouterr().out
    assert all(word in printed for word in ('1 x 3 x 32 x 64', 'backbone', 'decode_head', 'whole'))
    assert 'are trained' not in printed  # all are


def test_flops_say_what_is_trained_of_a_frozen_network(capsys):
    sizes = {'embed_dim': 64, 'depth': 2, 'num_heads': 2, 'out_indices': '(0,1)', 'adapter.num_tokens': 10}
    options = [f'model.backbone.{name}={value}' for name, value in sizes.items()]
    options += ['model.decode_head.in_channels=[64,64]', 'model.decode_head.in_index=[0,1]']
    config = str(ROOT / 'configs/dinov2_rein_cityscapes.py')
    load_tool('analysis_tools/get_flops.py').main([config, '--shape', '56', '--cfg-options', *options])
    adapter = 2 * 16 * (10 + 64) + 2 * (64 * 64 + 64)
    head = 2 * (64 * 256 + 256) + 2 * 256 * 256 + 2 * 256 + 19 * 257
    assert f'{(adapter + head) / 1e6:.3f} M are trained' in ' '.join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_two_processes_on_a_cpu(config, checkpoint, tmp_path):
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']  # at any free port
    train = [str(ROOT / 'tools' / 'train.py'), config, '--launcher', 'pytorch', '--work-dir', str(tmp_path)]
    test = [str(ROOT / 'tools' / 'test.py'), config, checkpoint, '--work-dir', str(tmp_path), '--out']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''}
    for command in (
        [*torchrun, *train],
        [*torchrun, *test, str(tmp_path / 'two.json'), '--launcher', 'pytorch'],
        [sys.executable, *test, str(tmp_path / 'one.json')],
    ):
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / 'iter_2.pth').exists()
    assert json.loads((tmp_path / 'two.json').read_text()) == json.loads((tmp_path / 'one.json').read_text())
