"""mmrobust.evaluate: the same as the command line, of models in memory too, and of a benchmark in another package."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

import mmrobust
from mmrobust.evaluation.counts import Confusion
from mmrobust.registry import BENCHMARKS
from tests.test_evaluate_classification import files as classification_files  # noqa: F401 (a fixture)
from tests.test_evaluate_robustness import CELLS, TOOL, _arguments, _contents, files  # noqa: F401 (of fixtures)
from tests.tool_loading import load_tool

REPO = Path(__file__).parents[2]
OPTIONS = dict(corruptions=['gaussian_noise', 'contrast'], severities=[2, 5])

# a whole benchmark in a file of somebody else: images upside down, over the config's own test set
UPSIDE_DOWN = re.search(r'```python\n(.+?)```', (REPO / 'docs/how-to/add_a_benchmark.md').read_text(), re.DOTALL)[1]


def test_importing_mmrobust_is_light():
    """Nothing of OpenMMLab's models is imported before it is needed."""
    code = "import sys, mmrobust; print([name for name in ('mmseg', 'mmpretrain', 'timm') if name in sys.modules])"
    result = subprocess.run([sys.executable, '-c', code], cwd=REPO, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == '[]'
    assert callable(mmrobust.evaluate)
    with pytest.raises(AttributeError, match="no attribute 'evaluates'"):
        mmrobust.evaluates  # noqa: B018


def test_a_script_gives_the_bytes_of_the_command_line(files, tool, tmp_path):  # noqa: F811
    tool.main(_arguments(files, tmp_path / 'tool'))
    script = tmp_path / 'script.py'
    script.write_text(
        textwrap.dedent(f"""
        import mmrobust

        report = mmrobust.evaluate(
            {str(files / 'toy.py')!r},
            'cityscapes-c',
            checkpoint={str(files / 'toy.pth')!r},
            out={str(tmp_path / 'script')!r},
            **{OPTIONS!r},
        )
        print(report.results['mPC'])
        """)
    )
    result = subprocess.run([sys.executable, script], cwd=REPO, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert _contents(tmp_path / 'script') == _contents(tmp_path / 'tool')
    results = json.loads((tmp_path / 'tool/results.json').read_text())['results']
    assert float(result.stdout.splitlines()[-1]) == results['mPC']


def _segmentor(files):  # noqa: F811
    config = Config.fromfile(files / 'toy.py')
    model = MODELS.build(config.model | dict(_scope_='mmseg'))
    model.load_state_dict(torch.load(files / 'toy.pth', weights_only=True)['state_dict'])
    return model, config


def test_a_segmentor_in_memory(files, tmp_path, capsys):  # noqa: F811
    model, config = _segmentor(files)
    model.train()
    dataset = config.test_dataloader.dataset
    common = dict(num_workers=0, device='cpu', **OPTIONS)
    report = mmrobust.evaluate(model, data=dataset, quiet=True, **common)
    assert model.training and capsys.readouterr().out == ''
    written = mmrobust.evaluate(
        str(files / 'toy.py'), checkpoint=str(files / 'toy.pth'), out=tmp_path, quiet=True, **common
    )
    assert report.results == written.results and report.worst == written.worst
    assert report.provenance['config'] == 'EncoderDecoder' and report.palette == written.palette
    mmrobust.evaluate(model, data=dataset, out=tmp_path / 'memory', quiet=True, **common)
    model.test_cfg.mode = 'slide'
    with pytest.raises(ValueError, match='another run \\(module_sha256 '):
        mmrobust.evaluate(model, data=dataset, out=tmp_path / 'memory', quiet=True, **common)
    model.test_cfg.mode = 'whole'
    model.cfg = config  # as mmseg.apis.init_model leaves it
    assert mmrobust.evaluate(model, quiet=True, **common).results == report.results


def test_classifiers_in_memory(classification_files, tmp_path):  # noqa: F811
    timm = pytest.importorskip('timm')
    config = Config.fromfile(classification_files / 'toy.py')
    common = dict(data=config.test_dataloader.dataset, num_workers=0, device='cpu', quiet=True, attacks=['fgsm'])
    network = timm.create_model('test_vit', num_classes=3, img_size=32)
    report = mmrobust.evaluate(network, 'adversarial', **common)
    assert report.name == 'test_vit' and report.provenance['mean'] == [255 * value for value in (0.5, 0.5, 0.5)]
    out = dict(out=tmp_path / 'out')
    mmrobust.evaluate(network, 'adversarial', **common, **out)
    network.pretrained_cfg['mean'] = (0.4, 0.5, 0.5)  # the same weights, another preprocessing
    with pytest.raises(
        ValueError, match=r'another run \(mean \[127.5, 127.5, 127.5\] there and \[102.0, 127.5, 127.5\]'
    ):
        mmrobust.evaluate(network, 'adversarial', **common, **out)
    network.pretrained_cfg['mean'] = (0.5, 0.5, 0.5)
    assert set(report.results['cells']) == {'clean', 'fgsm'}
    mean = [255 * value for value in network.pretrained_cfg['mean']]
    std = [255 * value for value in network.pretrained_cfg['std']]
    path = tmp_path / 'timm.py'
    path.write_text(
        f'_base_ = {str(classification_files / "toy.py")!r}\n'
        f"model = dict(_delete_=True, type='TimmClassifier', model_name='test_vit', num_classes=3, img_size=32,\n"
        f'    data_preprocessor=dict(mean={mean}, std={std}, to_rgb=True))\n'
    )
    torch.save(network.state_dict(), tmp_path / 'timm.pth')
    common.pop('data')
    expected = mmrobust.evaluate(path, 'adversarial', checkpoint=str(tmp_path / 'timm.pth'), **common)
    assert report.results == expected.results


@pytest.mark.parametrize(
    ('benchmark', 'options', 'error', 'sentence'),
    [
        ('cifar-c', {}, ValueError, "benchmark must be one of cityscapes-c, acdc, .*, got 'cifar-c'"),
        ('imagenet-c', {}, ValueError, 'imagenet-c is for models of mmpretrain, but .*toy.py is for mmseg'),
        ('cityscapes-c', dict(eps=1), ValueError, 'eps is for the benchmark adversarial, not cityscapes-c'),
        (
            'cityscapes-c',
            dict(turn=1),
            ValueError,
            "cityscapes-c takes preset, .*, max_images, calibration, got 'turn'",
        ),
        ('cityscapes-c', dict(data='/nowhere'), FileNotFoundError, '/nowhere'),
        ('cityscapes-c', dict(checkpoint='/no.pth'), FileNotFoundError, "There is no checkpoint '/no.pth'"),
        ('cityscapes-c', dict(shard=(3, 3)), ValueError, 'got 3/3'),
    ],
)
def test_bad_arguments(files, benchmark, options, error, sentence):  # noqa: F811
    arguments = dict(checkpoint=str(files / 'toy.pth'), device='cpu') | options
    with pytest.raises(error, match=sentence):
        mmrobust.evaluate(files / 'toy.py', benchmark, **arguments)


def test_models_that_cannot_be_evaluated(files):  # noqa: F811
    with pytest.raises(TypeError, match='a network of timm, got Linear'):
        mmrobust.evaluate(torch.nn.Linear(2, 2))
    model, _ = _segmentor(files)
    with pytest.raises(ValueError, match='EncoderDecoder has no test_dataloader'):
        mmrobust.evaluate(model)
    with pytest.raises(ValueError, match='checkpoint and cfg_options must be None for a model in memory'):
        mmrobust.evaluate(model, checkpoint='a.pth')


def test_a_bug_in_a_run_keeps_its_traceback(files, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Confusion, 'of_matrices', lambda matrices, _: matrices['absent'])
    with pytest.raises(RuntimeError, match="clean cannot be run: KeyError\\('absent'\\)"):
        mmrobust.evaluate(files / 'toy.py', checkpoint=str(files / 'toy.pth'), device='cpu', num_workers=0, quiet=True)


@pytest.fixture
def elsewhere(files, tmp_path, monkeypatch):  # noqa: F811
    """A config that names the benchmark of another package."""
    (tmp_path / 'upside_down_package.py').write_text(UPSIDE_DOWN)
    monkeypatch.syspath_prepend(tmp_path)
    config = tmp_path / 'mine.py'
    config.write_text(f"_base_ = {str(files / 'toy.py')!r}\ncustom_imports = dict(imports=['upside_down_package'])\n")
    yield config
    BENCHMARKS.module_dict.pop('upside-down', None)
    sys.modules.pop('upside_down_package', None)


def test_a_benchmark_of_another_package(files, tool, elsewhere, tmp_path, capsys):  # noqa: F811
    """On the command line with its options, in the results, on a page and in a comparison, and nothing was edited."""
    common = [str(elsewhere), str(files / 'toy.pth'), '--num-workers', '0', '--device', 'cpu']
    for name, turns in (('one', '1'), ('two', '2')):
        tool.main([*common, '--benchmark', 'upside-down', '--turns', turns, '--out', str(tmp_path / name)])
    assert '| turned |' in capsys.readouterr().out
    assert (tmp_path / 'one/results.csv').read_text().startswith('kind,mIoU\nclean,')
    results = [json.loads((tmp_path / name / 'results.json').read_text())['results'] for name in ('one', 'two')]
    assert results[0]['flips']['clean'] == results[1]['flips']['clean'] and results[0] != results[1]
    assert results[0]['flips']['turned'] != results[0]['flips']['clean']
    assert '<h2 id="1">Upside down</h2>' in (tmp_path / 'one/results.html').read_text()
    BENCHMARKS.module_dict.pop('upside-down')  # results say themselves how they are shown
    runs = [str(tmp_path / 'one'), str(tmp_path / 'two'), '--reference', 'one', '--out', str(tmp_path / 'page.html')]
    compare = load_tool('analysis_tools/compare_robustness.py')
    with pytest.raises(SystemExit):
        compare.main(runs)
    assert 'the runs differ in upside-down turns (1 in one, 2 in two)' in capsys.readouterr().err
    compare.main([*runs, '--allow-differences'])
    assert 'two against one: turned' in (tmp_path / 'page.html').read_text()


def test_options_are_those_of_the_benchmarks(tool, elsewhere, capsys):
    with pytest.raises(SystemExit):
        tool.main([str(elsewhere), '--help'])
    shown = capsys.readouterr().out
    assert '--turns TURNS' in shown and 'how often (default: 1)' in shown and 'upside-down:' in shown
    sets = 'imagenet-c, imagenet-c-bar, imagenet-3dcc, tiny-imagenet-c, cifar-10-c, cifar-100-c'
    assert f'cityscapes-c, {sets}:' in shown and shown.count('--seed') == 1


def test_a_notebook_gets_numbers(files):  # noqa: F811
    """Numbers of the report are those of the counts."""
    report = mmrobust.evaluate(
        Config.fromfile(files / 'toy.py'),
        checkpoint=str(files / 'toy.pth'),
        device='cpu',
        num_workers=0,
        quiet=True,
        **OPTIONS,
    )
    assert report.first('mPC').value == np.mean(list(report.results['corruptions'].values()))
    assert report.first('mPC').count == 4 and report.layout.table('grid') is not None
    assert CELLS[1:3] == OPTIONS['corruptions']


@pytest.mark.parametrize(
    ('scope', 'benchmark'), [('mmseg', 'cityscapes-c'), ('mmseg', 'acdc'), ('mmpretrain', 'imagenet-c')]
)
def test_a_wrapper_of_datasets_is_refused(scope, benchmark):
    loader = dict(dataset=dict(type='ConcatDataset', datasets=[{}, {}]))
    config = Config(dict(default_scope=scope, model=dict(type='A'), test_dataloader=loader))
    with pytest.raises(ValueError, match='must have a pipeline of its own here, got ConcatDataset: write a config for'):
        mmrobust.evaluate(config, benchmark)
