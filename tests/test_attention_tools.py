"""The tools of the analysis on MiniCity and on digits, in this process."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from tests.tool_loading import load_tool

ROOT = Path(__file__).resolve().parents[1]
ARCH = 'dict(embed_dims=16, depth=2, num_heads=2, stem_depths=(1, 1), feature_blocks=(1,))'
SEGMENTATION = f"""
default_scope = 'mmseg'
model = dict(
    type='mmrobust.RobustEncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[60.0] * 3, bgr_to_rgb=True),
    backbone=dict(type='mmrobust.FAN', arch={ARCH}),
    decode_head=dict(
        type='SegformerHead', in_channels=[128, 256, 16, 16], in_index=[0, 1, 2, 3], channels=8, num_classes=19,
        dropout_ratio=0, norm_cfg=dict(type='BN'), align_corners=False),
    train_cfg=dict(), test_cfg=dict(mode='slide', crop_size=(32, 64), stride=(32, 32)))
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmrobust.CityscapesDataset', data_root='DATA',
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=[
            dict(type='mmrobust.LoadImageFromFile'), dict(type='Resize', scale=(96, 48), keep_ratio=True),
            dict(type='mmrobust.LoadAnnotations'), dict(type='PackSegInputs')]))
"""
SWIN = 'dict(embed_dims=8, depth=(2, 2), num_heads=(2, 4), window_size=5)'
CLASSIFICATION = f"""
default_scope = 'mmpretrain'
model = dict(
    type='mmrobust.RobustImageClassifier',
    data_preprocessor=dict(mean=[127.5] * 3, std=[60.0] * 3, to_rgb=True, num_classes=2),
    backbone=dict(type='mmrobust.Swin', arch={SWIN}, out_type='avg_featmap', out_indices=(1,)),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=16))
test_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmrobust.ImageFolder', data_root='DATA', expected_classes=2,
        pipeline=[dict(type='mmrobust.LoadImageFromFile'), dict(type='PackInputs')]))
"""


def write_model(folder: Path, name: str, text: str, seed: int) -> list[str]:
    """A config and a checkpoint of random weights with sharp attention: the arguments of ``--model``."""
    config = folder / f'{name}.py'
    config.write_text(text)
    torch.manual_seed(seed)
    settings = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope(settings.default_scope):
        model = MODELS.build(settings.model)
    for module_name, parameter in model.named_parameters():
        if '.attn.' in module_name and parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.5)
        elif 'conv_seg.weight' in module_name:
            torch.nn.init.normal_(parameter)
    torch.save({'state_dict': model.state_dict()}, folder / f'{name}.pth')
    return ['--model', name, str(config), str(folder / f'{name}.pth')]


@pytest.fixture(scope='module')
def models(tmp_path_factory) -> list[str]:
    """Two segmentation models, the second with TAP, on four images of MiniCity."""
    folder = tmp_path_factory.mktemp('attention')
    write_minicity(folder / 'minicity', MiniCityParams(num_train=1, num_val=4, num_acdc=1, size=(96, 48)))
    text = SEGMENTATION.replace('DATA', str(folder / 'minicity'))
    with_tap = text.replace(ARCH, f"{ARCH}, tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=3)")
    return [*write_model(folder, 'first', text, 0), *write_model(folder, 'second', with_tap, 1)]


@pytest.fixture(scope='module')
def classifier(tmp_path_factory) -> list[str]:
    """A Swin on four images of two classes."""
    folder = tmp_path_factory.mktemp('classifier')
    for index in range(4):
        path = folder / 'data' / 'ab'[index % 2] / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(index).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return write_model(folder, 'swin', CLASSIFICATION.replace('DATA', str(folder / 'data')), 0)


@pytest.fixture(scope='module')
def timm_vits(tmp_path_factory) -> list[str]:
    """Two ViTs of timm, the second without a class token, and a folder of images in folders."""
    timm = pytest.importorskip('timm')
    folder = tmp_path_factory.mktemp('timm')
    arguments = []
    for name in ('test_vit', 'test_vit3'):
        torch.save(timm.create_model(name).state_dict(), folder / f'{name}.pth')
        arguments += ['--timm', name, str(folder / f'{name}.pth')]
    for index in range(3):
        path = folder / 'images' / 'ab'[index % 2] / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(index).integers(0, 256, (64, 80, 3), dtype=np.uint8))
    return [*arguments, '--images', str(folder / 'images')]


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def all_kinds(*names: str) -> set[str]:
    return {f'{name}.{kind}' for name in names for kind in ('png', 'svg', 'csv')}


def test_statistics(models, tmp_path, capsys):
    common = [*models, '--num-images', '3', '--num-workers', '0', '--device', 'cpu']
    load_tool('analysis_tools/attention_statistics.py').main([*common, '--out', str(tmp_path), '--check-memory'])
    printed = capsys.readouterr().out
    assert 'first: 2 x 32 x 64 pixels take' in printed  # the sliding window, clean and corrupted
    assert files(tmp_path) == {'statistics.csv'} | all_kinds(
        *('stability', 'overfocusing', 'diagonality', 'head_similarity', 'dilations', 'sinks', 'token_norms')
    )
    rows = read(tmp_path / 'statistics.csv')
    assert {row['model'] for row in rows} == {'first', 'second'}
    stability = [row for row in rows if row['statistic'] == 'stability_map' and row['model'] == 'first']
    assert [(row['layer'], row['head'], row['count']) for row in stability] == [
        ('all', 'all', '12'),
        *[(layer, head, '6' if head == 'all' else '3') for layer in '12' for head in ('all', '1', '2')],
    ]
    assert all(0 < float(row['median']) < 0.9999 for row in stability)
    drawn = read(tmp_path / 'stability.csv')
    assert drawn[0]['statistic'] == 'stability_map' and drawn[0]['median'] == stability[0]['median']


def test_dilations(models, tmp_path):
    load_tool('analysis_tools/attention_statistics.py').main(
        [*models, '--num-workers', '0', '--device', 'cpu', '--out', str(tmp_path)]
    )
    rows = read(tmp_path / 'dilations.csv')
    assert len(rows) == 2 * 2 * 3 * 2  # clean or corrupted, layer, dilation, reading
    assert {(row['model'], row['count']) for row in rows} == {('second', '4')}
    sums: dict[tuple[str, ...], float] = {}
    for row in rows:
        bar = row['images'], row['layer'], row['reading']
        sums[bar] = sums.get(bar, 0) + float(row['mean'])
    assert len(sums) == 2 * 2 * 2 and list(sums.values()) == pytest.approx([1] * 8, abs=1e-4)
    assert {row['layer'] for row in rows} == {'1', '2'} and {row['dilation'] for row in rows} == {'0', '1', '2'}


def test_statistics_of_clean_images_do_not_depend_on_batches(models, tmp_path):
    for size in ('1', '3'):
        options = ['--corruption', 'none', '--num-workers', '0', '--device', 'cpu', '--batch-size', size]
        load_tool('analysis_tools/attention_statistics.py').main([*models, *options, '--out', str(tmp_path / size)])
    one, three = (read(tmp_path / size / 'statistics.csv') for size in ('1', '3'))
    assert {row['images'] for row in one} == {'clean'}
    for row, same in zip(one, three, strict=True):
        assert (row['statistic'], row['count']) == (same['statistic'], same['count'])
        assert float(row['mean']) == pytest.approx(float(same['mean']), rel=1e-4)
    assert 'stability.png' not in files(tmp_path / '1')


def test_statistics_of_a_classifier_in_windows(classifier, tmp_path):
    load_tool('analysis_tools/attention_statistics.py').main(
        [*classifier, '--num-workers', '0', '--device', 'cpu', '--out', str(tmp_path)]
    )
    rows = read(tmp_path / 'statistics.csv')
    assert max(float(row['maximum']) for row in rows if row['statistic'] == 'effective_tokens') <= 25
    assert 'dilations.csv' not in files(tmp_path)  # it has no TAP


def test_statistics_of_vits_of_timm(timm_vits, tmp_path, capsys):
    options = ['--num-images', '2', '--num-workers', '0', '--device', 'cpu', '--corruption', 'fog']
    load_tool('analysis_tools/attention_statistics.py').main([*timm_vits, *options, '--out', str(tmp_path)])
    assert {f'{name}.csv' for name in ('sinks', 'token_norms', 'class_token')} <= files(tmp_path)
    rows = read(tmp_path / 'statistics.csv')
    of_models = {name: {row['statistic'] for row in rows if row['model'] == name} for name in ('test_vit', 'test_vit3')}
    assert of_models['test_vit'] - of_models['test_vit3'] == {'class_patch_share', 'class_patches', 'rollout_patches'}
    assert of_models['test_vit3'] - of_models['test_vit'] == {'register_share'}
    norms = [row for row in rows if row['statistic'] == 'norm_ratio' and row['model'] == 'test_vit']
    assert {row['head'] for row in norms} == {'all'} and {row['layer'] for row in norms} == {'all', *'123456'}
    assert {row['count'] for row in norms} == {'2', '12'}
    assert 'sink_rate' in capsys.readouterr().out


def test_maps_of_the_class_token(timm_vits, tmp_path):
    options = ['--num-images', '1', '--device', 'cpu', '--layers', '2', '6', '--corruption', 'none']
    load_tool('analysis_tools/visualize_attention.py').main([*timm_vits, *options, '--out', str(tmp_path)])
    assert all_kinds('class_over_image') <= files(tmp_path)
    lines = list(csv.reader((tmp_path / 'class_over_image.csv').open()))[1:]
    assert {(row, column) for row, column, *_ in lines} == {
        ('test_vit clean', column) for column in ('layer 2', 'layer 6', 'rollout')
    }
    cells = np.array([line[3:] for line in lines], float)
    assert cells.shape == (3 * 10, 10) and 0.5 < cells.mean() < 1.1  # multiples of 1 / N, that on itself not shown


def test_windows_have_no_maps(classifier, tmp_path, capsys):
    with pytest.raises(SystemExit):
        load_tool('analysis_tools/visualize_attention.py').main(
            [*classifier, '--device', 'cpu', '--out', str(tmp_path)]
        )
    assert 'attention in windows has no N x N map to draw' in capsys.readouterr().err


def test_maps(models, tmp_path):
    options = ['--num-images', '2', '--image', '1', '--device', 'cpu', '--layers', '2', '--side', '4']
    load_tool('analysis_tools/visualize_attention.py').main([*models, *options, '--out', str(tmp_path)])
    assert files(tmp_path) == all_kinds('maps_by_image', 'maps_by_layer', 'maps_by_head', 'token_over_image')
    lines = list(csv.reader((tmp_path / 'maps_by_layer.csv').open()))[1:]
    assert {(row, column) for row, column, *_ in lines} == {
        (f'{name} {kind}', 'layer 2')
        for name in ('first', 'second')
        for kind in ('clean', 'gaussian noise, severity 3')
    }
    cells = np.array([line[3:] for line in lines], float)
    assert cells.shape == (4 * 4, 4)
    np.testing.assert_allclose(cells.mean(-1), 1, rtol=1e-4)  # multiples of the uniform attention
    token = list(csv.reader((tmp_path / 'token_over_image.csv').open()))[1:]
    assert len(token) == 4 * 2 and len(token[0]) == 3 + 4  # 2 x 4 tokens of a window of 32 x 64 pixels


def test_segmentation(models, tmp_path):
    options = ['--num-images', '2', '--device', 'cpu', '--corruption', 'fog', '--severity', '2']
    load_tool('analysis_tools/visualize_segmentation.py').main([*models, *options, '--out', str(tmp_path)])
    assert files(tmp_path) == all_kinds('segmentation')
    rows = read(tmp_path / 'segmentation.csv')
    assert len({row['image'] for row in rows}) == 2
    assert {row['model'] for row in rows} == {'first', 'second'}
    assert all(0 <= float(row['mIoU']) <= 100 for row in rows)
    assert all(row['top'] == '' for row in rows if row['model'] == 'first')
    assert any(row['better'] in ('True', 'False') for row in rows if row['model'] == 'second')


def test_segmentation_under_several_corruptions(models, tmp_path):
    options = ['--num-images', '2', '--device', 'cpu', '--corruptions', 'none', 'fog', '--errors', '--name', 'overview']
    load_tool('analysis_tools/visualize_segmentation.py').main([*models, *options, '--out', str(tmp_path)])
    assert files(tmp_path) == all_kinds('overview')
    rows = read(tmp_path / 'overview.csv')
    shown = list(dict.fromkeys((row['image'], row['processing']) for row in rows))
    assert [processing for _, processing in shown] == ['clean', 'fog, severity 3'] * 2
    assert shown[0][0] == shown[1][0] != shown[2][0]
    # the same numbers as with one corruption
    (tmp_path / 'fog').mkdir()
    options = ['--num-images', '2', '--device', 'cpu', '--corruption', 'fog', '--out', str(tmp_path / 'fog')]
    load_tool('analysis_tools/visualize_segmentation.py').main([*models, *options])
    alone = {(row['image'], row['model'], row['mIoU']) for row in read(tmp_path / 'fog/segmentation.csv')}
    together = {(row['image'], row['model'], row['mIoU']) for row in rows if row['processing'] != 'clean'}
    assert together == alone


def test_segmentation_of_acdc(models, tmp_path):
    acdc = Path(models[2]).parent / 'minicity' / 'acdc'
    options = ['--num-images', '1', '--device', 'cpu', '--acdc', str(acdc), '--conditions', 'night']
    load_tool('analysis_tools/visualize_segmentation.py').main([*models, *options, '--out', str(tmp_path)])
    assert all('night' in row['image'] for row in read(tmp_path / 'segmentation.csv'))
    assert 'ACDC in night' in (tmp_path / 'segmentation.svg').read_text()


def test_what_the_forms_of_adl_reward():
    """The paper's form flattens rows until they are below the threshold; the pairwise one keeps and sharpens them."""
    tool = load_tool('analysis_tools/adl_forms.py')
    logits = tool.start(24, 0, sink=3, diagonal=2)
    busiest, tokens, diagonal, active = tool.describe(logits, 2.0)
    probs = logits.softmax(-1)
    assert busiest == pytest.approx(probs.mean(0).max().item(), rel=1e-5)
    assert diagonal == pytest.approx(probs.diagonal().mean().item(), rel=1e-5)
    assert tokens == pytest.approx((-(probs * probs.log()).sum(-1)).exp().mean().item(), rel=1e-5) and active == 1
    after = {mode: tool.describe(tool.descend(logits, mode, 2.0, 120), 2.0) for mode in ('paper', 'pairwise')}
    assert max(after['paper'][0], after['pairwise'][0]) < 0.6 * busiest
    assert after['paper'][1] > tokens > after['pairwise'][1]
    assert after['paper'][3] < 0.5 and after['pairwise'][3] == 1
    assert after['pairwise'][2] > 2 * diagonal


def test_plateaus_of_the_forms_of_adl():
    tool = load_tool('analysis_tools/adl_forms.py')
    for (noise, sink), value in zip(tool.PLATEAUS.values(), (0, 1), strict=True):
        for mode in ('paper', 'official', 'pairwise'):
            loss, gradient = tool.value_and_gradient(tool.start(64, 0, noise, sink), mode, 2.0)
            assert loss == pytest.approx(value, abs=1e-12) and gradient < 1e-15


def test_figure_of_the_forms_of_adl(tmp_path, capsys):
    load_tool('analysis_tools/adl_forms.py').main(['--tokens', '8', '--steps', '2', '--out', str(tmp_path)])
    assert files(tmp_path) == all_kinds('adl_forms')
    lines = list(csv.reader((tmp_path / 'adl_forms.csv').open()))[1:]
    assert len(lines) == 4 * 4 * 8
    np.testing.assert_allclose(np.array([line[3:] for line in lines], float).mean(-1), 1, rtol=1e-4)
    assert 'value / largest entry of the gradient' in capsys.readouterr().out


def test_sweep(tmp_path):
    for value, number in (('1', 40), ('4', 44)):
        (tmp_path / value).mkdir()
        content = {'results': {'mPC': number, 'name': 'x'}}
        (tmp_path / value / 'results.json').write_text(json.dumps(content))
    (tmp_path / 'metrics.json').write_text(json.dumps({'mPC': 42.5}))
    runs = [f'4={tmp_path / "4"}', f'1={tmp_path / "1"}', f'4={tmp_path / "metrics.json"}']
    load_tool('analysis_tools/plot_sweep.py').main(
        ['--series', 'TAP', *runs, '--baseline', str(tmp_path / '1'), '--out', str(tmp_path / 'k')]
    )
    assert read(tmp_path / 'k.csv') == [
        {'series': 'TAP', 'K': '1', 'mean mPC': '40', 'minimum': '40', 'maximum': '40', 'runs': '1'},
        {'series': 'TAP', 'K': '4', 'mean mPC': '43.25', 'minimum': '42.5', 'maximum': '44', 'runs': '2'},
    ]
    assert {'k.png', 'k.svg'} <= files(tmp_path)


@pytest.mark.parametrize(
    ('tool', 'argv', 'sentence'),
    [
        ('attention_statistics', ['MODELS', '--num-images', '0'], 'num_images must be 1 or more, got 0'),
        ('attention_statistics', ['MODELS', '--top-k', '0'], 'top_k must be at least 1, got 0'),
        ('attention_statistics', ['--model', 'a', 'no.py', 'no.pth'], "There is no checkpoint 'no.pth'"),
        ('attention_statistics', ['MODELS', '--outlier-ratio', '0'], 'outlier_ratio must be at least 1, got 0.0'),
        ('attention_statistics', [], 'a model must be named, by --model or --timm, got none'),
        ('attention_statistics', ['--timm', 'test_vit'], "There is no folder 'data/imagenet/val' of images"),
        ('attention_statistics', ['VITS', '--images', '.'], "must have images, got none in '.'"),
        (
            'attention_statistics',
            ['--timm', 'a', 'b', 'c', '--images', '.'],
            'a NAME and perhaps a CHECKPOINT, got a b',
        ),
        ('attention_statistics', ['--timm', 'test_vitt', '--images', '.'], "got 'test_vitt'; close to it are test_vit"),
        ('visualize_attention', ['MODELS', '--image', '3'], '--image must be 0 to 2, got 3'),
        ('visualize_attention', ['MODELS', '--layers', '3'], 'a layer must be 1 to 2, got 3'),
        ('visualize_attention', ['MODELS', '--token', '1', '0'], 'two shares from 0 to below 1, got [0.0, 1.0]'),
        ('visualize_attention', ['MODELS', '--crop', '24', '32'], 'must be multiples of 16, got 24 x 32'),
        ('visualize_attention', ['MODELS', 'MODELS'], '--model takes different names'),
        ('visualize_segmentation', ['MODELS', '--acdc', 'nowhere'], 'nowhere'),
        ('visualize_segmentation', ['MODELS', '--acdc', '.', '--corruptions', 'fog'], 'leave one of both out'),
        ('visualize_segmentation', ['--model', 'a', 'b', 'c', '--errors'], 'the first and the last model, got 1 model'),
        ('plot_sweep', ['--series', 'TAP', 'x'], "takes VALUE=PATH such as 4=work_dirs/k4, got 'x'"),
        ('plot_sweep', ['--series', 'TAP', '1=nowhere'], "There is no results file 'nowhere'"),
        ('plot_sweep', ['--series', 'TAP'], 'takes a name and at least one VALUE=PATH'),
    ],
)
def test_mistake_is_one_sentence(tool, argv, sentence, models, timm_vits, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    placeholders = {'MODELS': models, 'VITS': timm_vits}
    given = [part for argument in argv for part in placeholders.get(argument, [argument])]
    device = [] if tool == 'plot_sweep' else ['--device', 'cpu']
    with pytest.raises(SystemExit) as exit_:
        load_tool(f'analysis_tools/{tool}.py').main([*given, *device])
    assert exit_.value.code == 2
    assert sentence in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    'content', ['{', '[]', '{"mPC": true}', '{"results": {"mIoU": 3}}', '{"results": [1]}', '{"mPC": NaN}']
)
def test_sweep_names_what_a_file_lacks(content, tmp_path, capsys):
    (tmp_path / 'run.json').write_text(content)
    with pytest.raises(SystemExit):
        load_tool('analysis_tools/plot_sweep.py').main(['--series', 'TAP', f'1={tmp_path / "run.json"}'])
    assert 'run.json' in capsys.readouterr().err
