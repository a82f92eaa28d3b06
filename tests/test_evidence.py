"""The experiment with TAP and ADL: runs that pair and resume, statistics, and a page that says what the numbers say."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy import stats

from mmrobust.cli import load_config
from mmrobust.datasets.minicity import MiniCityParams, draw_scene, label_map, lay_out, render, write_minicity

ROOT = Path(__file__).resolve().parents[1]
TOOL = 'analysis_tools/evidence.py'
TINY = ['--iters', '2', '--batch-size', '16', '--train-scenes', '1', '--val-scenes', '1', '--seeds', '1']


@pytest.fixture
def experiment(tool):
    """Modules beside the tool by name."""
    return lambda name: sys.modules[f'experiment.{name}']


@pytest.mark.parametrize('name', ['crops'])
def test_page_is_what_the_numbers_say(tool, name):
    text = (ROOT / f'docs/evidence/{name}.json').read_text()
    assert tool.page(text) == (ROOT / 'docs/evidence.md').read_text()


def test_runs_are_kept_resumed_and_summarised(tool, tmp_path, capsys):
    command = [*TINY, '--arms', 'TAP + ADL paper', '--out', str(tmp_path)]
    tool.main(command)
    kept = {path.name: path.read_bytes() for path in (tmp_path / 'runs').iterdir()}
    assert kept.keys() == {'baseline_seed0.json', 'TAP_+_ADL_paper_seed0.json'}
    results = json.loads((tmp_path / 'results.json').read_text())
    assert [one['arm'] for one in results['runs']] == ['baseline', 'TAP + ADL paper']
    for one in results['runs']:
        assert len(one['corrupted_errors']) == 15 and len(one['attention']) == 6
        assert one['mean_corrupted_error'] == pytest.approx(np.mean(list(one['corrupted_errors'].values())), abs=1e-3)
    assert (tmp_path / 'evidence.md').read_text() == tool.page((tmp_path / 'results.json').read_text())

    (tmp_path / 'runs/TAP_+_ADL_paper_seed0.json').unlink()
    tool.main(command)
    again = {path.name: path.read_bytes() for path in (tmp_path / 'runs').iterdir()}
    assert again['baseline_seed0.json'] == kept['baseline_seed0.json']
    assert results['runs'][1]['log'][0].keys() == {'step', 'loss_cls', 'loss_adl', 'gradient_ratio'}
    old, new = (json.loads(files['TAP_+_ADL_paper_seed0.json']) for files in (kept, again))
    assert {**new, 'seconds': 0} == {**old, 'seconds': 0}

    capsys.readouterr()
    with pytest.raises(SystemExit):
        tool.main([*command, '--iters', '3'])
    assert 'was made with other settings (recipe): choose another folder by --out' in capsys.readouterr().err


def test_segmentation_is_measured_by_miou(tool, experiment, tmp_path, monkeypatch):
    model = experiment('profiles').profile_of('scenes', None, {})['model']
    model['backbone']['arch'] = dict(embed_dims=16, depth=2, num_heads=2, stem_depths=(1, 1), feature_blocks=(1,))
    model['decode_head'] |= dict(in_channels=[128, 256, 16, 16], channels=16)
    monkeypatch.setitem(experiment('profiles').SCENES, 'model', model)
    tool.main([*TINY, '--batch-size', '2', '--profile', 'scenes', '--arms', 'TAP', '--out', str(tmp_path)])
    runs = json.loads((tmp_path / 'results.json').read_text())['runs']
    assert [one['arm'] for one in runs] == ['baseline', 'TAP']
    assert all(50 < one['clean_error'] < 100 for one in runs)
    assert 'that segments scenes of MiniCity' in (tmp_path / 'evidence.md').read_text()


def test_images_of_a_config_are_read(experiment, tmp_path):
    write_minicity(tmp_path, MiniCityParams(1, 1, 0, (128, 64)))
    config = load_config(str(ROOT / 'configs/fan_minicity.py'))
    for loader in (config.train_dataloader, config.test_dataloader):
        loader.dataset.data_root = str(tmp_path)
    images = experiment('images').read_images(config, 'val', None, (64, 32))
    street = lay_out(0, 'val', 0)
    drawn = draw_scene(street, 128, 64)
    expected = cv2.resize(render(drawn, street), (64, 32), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(images.pixels[0], expected)  # RGB, whatever the pipeline reads
    expected = cv2.resize(label_map(drawn), (64, 32), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(images.targets[0], expected)
    profile = experiment('profiles').profile_of('scenes', config, dict(size=[64, 32], val_images=1))
    assert profile['model']['data_preprocessor']['size'] == (32, 64)
    assert profile['data'] == dict(kind='config', train_images=None, val_images=1, size=[64, 32])


def test_arms_start_alike(experiment):
    build, crops = experiment('training').build, experiment('profiles').CROPS
    baseline = build(crops['model'], 'baseline', 3).state_dict()
    for arm in ('ADL official', 'TAP', 'average pooling', 'TAP + ADL paper, lambda 10'):
        model = build(crops['model'], arm, 3)
        weights = model.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in baseline.items())
        assert (len(weights) > len(baseline)) == ('TAP' in arm)
    assert model.loss_attn.loss_weight == 10 and model.loss_attn.mode == 'paper'
    other = build(crops['model'], 'baseline', 4).state_dict()
    assert not torch.equal(other['backbone.blocks.0.attn.qkv.weight'], baseline['backbone.blocks.0.attn.qkv.weight'])


def test_crops_hold_their_class(experiment):
    images = experiment('images')
    pixels, labels = images._scene('train', 0)
    crops = images._crops_of('train', 0)
    places = [(y, x) for y in range(0, 97, 8) for x in range(0, 225, 8)]
    for target, _, crop in crops:
        (place,) = [(y, x) for y, x in places if np.array_equal(pixels[y : y + 32, x : x + 32], crop)][:1]
        inside = labels[place[0] : place[0] + 32, place[1] : place[1] + 32]
        assert (inside == images.CLASSES.index(images.CROP_CLASSES[target])).mean() >= 0.5
    targets = [target for target, *_ in crops]
    assert len(set(targets)) >= 4 and max(map(targets.count, targets)) == images.PER_SCENE


def test_changes_are_paired(experiment):
    summary = experiment('summary')
    runs = {
        'baseline': {seed: dict(x=value) for seed, value in enumerate((50.0, 60.0, 70.0, 80.0))},
        'TAP': {seed: dict(x=value) for seed, value in enumerate((49.0, 58.5, 69.5))},  # one seed is not there yet
    }
    one = summary.change(runs, 'TAP', lambda run: run['x'])
    expected = stats.ttest_rel([49.0, 58.5, 69.5], [50.0, 60.0, 70.0])
    interval = expected.confidence_interval()
    assert one.values == (-1.0, -1.5, -0.5)
    assert (one.low, one.high, one.p) == pytest.approx((interval.low, interval.high, expected.pvalue))
    assert one.half < one.detectable


def test_detectable_effect_is_found_that_often(experiment):
    """By drawing: an effect of that size is significant in about 80 of 100 experiments of this spread."""
    rng = np.random.default_rng(0)
    spread, seeds = 2.0, 5
    t = stats.t.ppf([0.975, 0.8], seeds - 1).sum()
    effect = t * spread / seeds**0.5
    draws = effect + spread * rng.standard_normal((4000, seeds))
    share = (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert share == pytest.approx(0.8, abs=0.05)
    values = np.array([1.0, -1.0, 0.5, -0.5, 3.0])
    runs = {'baseline': {i: dict(x=0.0) for i in range(5)}, 'TAP': {i: dict(x=v) for i, v in enumerate(values)}}
    found = experiment('summary').change(runs, 'TAP', lambda run: run['x'])
    assert found.detectable == pytest.approx(t * values.std(ddof=1) / seeds**0.5)


def test_holm(experiment):
    """The example of a textbook: 0.01 x 4, 0.02 x 3, and then never below what came before."""
    adjusted = experiment('summary').holm(dict(a=0.02, b=0.01, c=0.03, d=0.5))
    assert adjusted == pytest.approx(dict(b=0.04, a=0.06, c=0.06, d=0.5))


def _content(changes: dict[str, list[float]], adl: float = 0.5) -> str:
    """Results of a baseline of 60% and of arms that differ from it by this, seed by seed."""
    layer = dict(adl=adl, active_rows=0.9, single_rows=0.1, top_share=0.3, self_share=0.02, stability_map=0.6)
    layer |= dict(head_similarity_map=0.5)
    runs = []
    for arm, values in {'baseline': [0.0] * 5, **changes}.items():
        for seed, value in enumerate(values):
            error = 60 + seed + value
            cells = dict(mean_corrupted_error=error, corrupted_errors={'fog/3': error}, clean_error=error - 20)
            seconds = dict(train=1.0, measure=1.0, cpu=1.0)
            runs.append(dict(arm=arm, seed=seed, **cells, attention=[layer] * 3, log=[], seconds=seconds))
    about = json.loads((ROOT / 'docs/evidence/crops.json').read_text())
    return json.dumps({**about, 'runs': runs})


def test_findings_follow_the_numbers(tool):
    better, worse, unclear = [-2.0, -2.1, -1.9, -2.2, -1.8], [3.0, 3.1, 2.9, 3.0, 3.0], [1.0, -1.0, 0.5, -0.5, 0.1]
    text = tool.page(_content({'TAP': better, 'ADL paper': worse, 'ADL official': unclear}))
    lines = text.splitlines()[2:5]
    assert "TAP lowers it and ADL paper raises it, after Holm's correction over 3 arms" in lines[0]
    assert 'TAP -2.00 [-2.20, -1.80]; ADL paper +3.00 [+2.91, +3.09]; ADL official +0.02 [' in lines[1]
    assert 'The baseline overfocuses' in lines[2]
    assert 'no arm changes it by an amount that can be told from 0' in tool.page(_content({'TAP': unclear}))
    assert 'does not overfocus, so the comparison is uninformative' in tool.page(_content({'TAP': better}, adl=0.1))


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--jobs', '0'], 'jobs must be 1 or more, got 0'),
        (['--arms', 'ADL'], "got 'ADL'"),
        (['--config', 'configs/fan_minicity.py'], '--config and --data-root go together, and with --profile scenes'),
        (
            ['--profile', 'scenes', '--val-images', '3'],
            "the profile 'scenes' has no setting 'val_images'; leave it out",
        ),
        (['--summarise'], 'leave out --summarise'),
    ],
)
def test_what_is_not_allowed(tool, tmp_path, capsys, options, sentence):
    with pytest.raises(SystemExit) as stopped:
        tool.main([*TINY, '--out', str(tmp_path), *options])
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err
