"""tools/analysis_tools/compare_robustness.py on results that no model has to make."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from mmrobust.evaluation.benchmarks import CLEAN, CellResult, CellStore, preset_groups, select_cells, summarize

TOOL = Path(__file__).parents[1] / 'tools/analysis_tools/compare_robustness.py'


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('compare_robustness', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def write(tmp_path):
    """Writes what a run over a preset writes, from random counts of three classes, one of them nowhere."""

    def write_run(folder, draw=0, preset='kamann', **identity):
        identity = dict(num_images=2, seed=0, profile='rgb') | identity
        store = CellStore(tmp_path / folder, identity)
        rng = np.random.default_rng(draw)
        cells = select_cells(preset)
        for cell in (CLEAN, *cells):
            matrices = np.pad(
                rng.integers(50, 100, (2, 2, 2)) + 200 * np.eye(2, dtype=np.int64), ((0, 0), (0, 1), (0, 1))
            )
            images = {f'{i}.png': np.stack([np.diagonal(m), m.sum(0), m.sum(1)]) for i, m in enumerate(matrices)}
            store.write(cell, CellResult(matrices.sum(0), images))
        summary = summarize(store, cells, preset_groups(preset), ('road', '<script>', 'train'))
        content = {'provenance': {'config': f'{folder}.py', **identity}, 'results': summary}
        (store.folder / 'results.json').write_text(json.dumps(content))
        return str(store.folder)

    return write_run


def stopped(tool, capsys, *arguments):
    """The one sentence that the tool ends with."""
    with pytest.raises(SystemExit) as error:
        tool.main([*map(str, arguments)])
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_two_runs(tool, write, tmp_path, capsys):
    first, second = write('one'), write('two', draw=1)
    out = tmp_path / 'new' / 'page.html'
    names = ['--names', 'A', 'B & C', '--reference', 'A', '--out', str(out)]
    tool.main([first, f'{second}/results.json', *names])
    assert capsys.readouterr().out == f'{out}\n'
    page = out.read_text()
    results = json.loads(Path(second, 'results.json').read_text())['results']
    assert f'{results["mPC"]:.2f}' in page and f'{results["clean_mIoU"]:.2f}' in page
    assert 'B &amp; C' in page and '&lt;script&gt;' in page and '<script' not in page
    assert 'mean CD' in page and '+ TAP &amp; ADL (published)' in page


def test_names_are_those_of_the_folders(tool, write, tmp_path):
    out = tmp_path / 'page.html'
    tool.main([write('one'), write('two') + '/results.json', '--out', str(out)])
    assert ' one</span>' in out.read_text() and ' two</span>' in out.read_text()


def test_published_only_beside_its_own_severities(tool, write, tmp_path):
    out = tmp_path / 'page.html'
    tool.main([write('one', preset='severity5'), '--out', str(out)])
    assert '(published)' not in out.read_text()


@pytest.mark.parametrize(
    ('change', 'phrase'),
    [
        (dict(seed=3), 'seed (0 in one, 3 in two)'),
        (dict(num_images=9), 'num_images (2 in one, 9 in two)'),
        (dict(profile='bgr'), 'profile (rgb in one, bgr in two)'),
        (dict(preset='severity5'), 'cells (72 in one, 16 in two, 12 in common)'),
    ],
)
def test_different_protocols(tool, write, tmp_path, capsys, change, phrase):
    first, second = write('one'), write('two', **change)
    out = tmp_path / 'page.html'
    assert phrase in stopped(tool, capsys, first, second, '--out', out)
    assert not out.exists()
    tool.main([first, second, '--out', str(out), '--allow-differences'])
    assert f'These runs differ in {phrase}.' in out.read_text()


def test_bad_input_is_one_sentence(tool, write, tmp_path, capsys):
    good = write('one')
    (tmp_path / 'broken.json').write_text('{"results"')
    (tmp_path / 'list.json').write_text('[]')
    (tmp_path / 'other.json').write_text('{"results": {"mPC": 1}}')
    (tmp_path / 'empty').mkdir()
    for arguments, sentence in (
        ([tmp_path / 'absent'], 'There are no results'),
        ([tmp_path / 'empty'], 'a run writes them when all its cells are finished'),
        ([tmp_path / 'broken.json'], 'broken.json is not the results.json'),
        ([tmp_path / 'list.json'], 'list.json is not the results.json'),
        ([tmp_path / 'other.json'], 'it lacks clean_mIoU, retention, corruptions, cells'),
        ([good, good], '--names takes 2 different names, one for each run, got one, one'),
        ([good, '--names', 'A', 'B'], '--names takes 1 different names'),
        ([good, '--reference', 'B'], "the reference must be one of one, got 'B'"),
        ([good, '--out', tmp_path / 'broken.json' / 'page.html'], 'broken.json'),
    ):
        out = [] if '--out' in arguments else ['--out', tmp_path / 'page.html']
        assert sentence in stopped(tool, capsys, *arguments, *out)
