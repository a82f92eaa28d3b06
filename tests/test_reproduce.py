"""tools/reproduce.py, called in this process."""

import csv
from pathlib import Path

import pytest

from mmrobust.evaluation.benchmarks.presets import select_cells
from mmrobust.evaluation.paper_tables import paper_tables
from tests.reports import report_of

TOOL = 'reproduce.py'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no results of this checkout


def write_results(folder: Path, config: str, mpc: float = 51.23, num_images: int = 500) -> Path:
    """Results on Cityscapes-C in which every corruption has the same mIoU, and fog another."""
    cells = select_cells('kamann')
    results = {
        'clean_mIoU': 70.04,
        'mPC': mpc,
        'retention': 100 * mpc / 70.04,
        'corruptions': {cell.name: 50.0 for cell in cells} | {'fog': 61.26},
        'ungrouped': [],
        'cells': {cell.key: {} for cell in cells},
        'classes': {},
    }
    provenance = {'config': f'somewhere/{config}.py', 'num_images': num_images}
    folder.mkdir(parents=True)
    (folder / 'results.json').write_text(report_of('cityscapes-c', results, provenance).to_json())
    return folder


def read_table(path: Path) -> dict[str, tuple[dict, dict]]:
    """Published and measured cells by system."""
    rows = list(csv.DictReader(path.open()))
    return {published['Method']: (published, measured) for published, measured in zip(*[iter(rows)] * 2, strict=True)}


def test_prints_every_table(tool, capsys):
    assert tool.main([]) == 0
    printed = capsys.readouterr().out
    for table in paper_tables().values():
        assert f'Table {table.name}. {table.caption}' in printed
        for row in table.rows:
            assert row.name in printed
    assert '69.7' in printed and '33.87' in printed and '…' not in printed


def test_a_run_lands_in_its_cells_and_nowhere_else(tool, tmp_path, capsys):
    write_results(tmp_path / 'work_dirs/robustness/fan_tap_cityscapes/cityscapes-c', 'fan_tap_cityscapes')
    assert tool.main(['4', 'IV', '--out', 'out']) == 0
    for table in ('4', 'IV'):
        for name, (published, measured) in read_table(tmp_path / f'out/table_{table}.csv').items():
            filled = {key: value for key, value in measured.items() if value and key}
            expected = {'Cityscapes': '70.0', 'Cityscapes-C': '51.2'}
            if table == 'IV':
                expected |= {key: '50.0' for key in published if key not in ('', 'Method', *expected)} | {'Fog': '61.3'}
            assert filled == (expected if name == 'FAN-B-Hybrid + TAP' else {})
    assert read_table(tmp_path / 'out/table_4.csv')['ICNet'][0]['ACDC'] == '-'
    markdown = (tmp_path / 'out/table_4.md').read_text()
    assert '|  | measured | 70.0 | 51.2 |  |' in markdown
    assert 'FAN-B-Hybrid + TAP, measured: work_dirs' in markdown and markdown == markdown.rstrip() + '\n'


def test_row_gives_a_run_another_row(tool, tmp_path):
    folder = write_results(tmp_path / 'work_dirs/robustness/mine', 'mine')
    tool.main(['4', '--row', f'Segformer-B5={folder}', '--out', 'out'])
    tables = read_table(tmp_path / 'out/table_4.csv')
    assert [name for name, (_, measured) in tables.items() if measured['Cityscapes']] == ['Segformer-B5']


def test_row_takes_a_config_and_a_name_with_an_equals_sign(tool, tmp_path):
    folder = write_results(tmp_path / 'mine', 'fan_cityscapes')
    assert tool.read_runs(None, [f'setr_cityscapes={folder}'])[0][0] == 'setr_cityscapes'
    assert tool.read_runs(None, [f'tau = 3={folder}'])[0][0] == 'tau = 3'


def test_says_what_is_left_out_and_which_run_has_no_row(tool, tmp_path, capsys):
    write_results(tmp_path / 'few', 'fan_cityscapes', num_images=10)
    write_results(tmp_path / 'mine', 'mine')
    tool.main(['4', '--results', 'few', 'mine'])
    printed = capsys.readouterr().out
    assert 'few/results.json: left out: 10 images, not all 500' in printed
    assert 'mine/results.json belongs to no row: no table has the config mine' in printed


def test_two_runs_of_one_row(tool, tmp_path, capsys):
    write_results(tmp_path / 'a', 'fan_cityscapes')
    write_results(tmp_path / 'b', 'fan_cityscapes')
    assert tool.main(['4', '--results', 'a', 'b']) == 0  # they say the same
    write_results(tmp_path / 'c', 'fan_cityscapes', mpc=52.0)
    with pytest.raises(SystemExit, match='2'):
        tool.main(['4', '--results', 'a', 'c'])
    assert "different numbers of cityscapes-c for the row 'FAN-B-Hybrid'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['6'], "there is no Table '6': choose from 1, 2, 3, 4, 5, I, II, III, IV, STL"),
        (['--results', 'nowhere'], "There is no results.json in 'nowhere'"),
        (['--row', 'ICNet'], "--row takes NAME=DIR, got 'ICNet'"),
        (['--row', 'YOLO=.'], "--row: no table has a row or a config 'YOLO'"),
    ],
)
def test_mistakes_in_one_sentence(tool, arguments, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        tool.main(arguments)
    assert message in capsys.readouterr().err


def test_check_fills_sizes_and_fails_if_one_is_off(tool, tmp_path, monkeypatch, capsys):
    def size_of(config, shapes):
        off = config.model.type != 'mmrobust.TimmClassifier'  # RVT-B
        return tool.Size(91.8 if off else 87.8, dict.fromkeys(shapes, 20.0 if off else 15.4))

    kept = {name: tool.zoo()[name] for name in ('swin_b_imagenet', 'rvt_b_imagenet', 'pvt_large_imagenet')}
    monkeypatch.setattr(tool, 'size_of', size_of)
    monkeypatch.setattr(tool, 'entries_of', lambda tables: list(kept.values()))
    assert tool.main(['III', '--check', '--out', 'out']) == 0  # RVT-B's MACs are far off, but that has a reason
    measured = {name: cells for name, (_, cells) in read_table(tmp_path / 'out/table_III.csv').items()}
    assert (measured['Swin-B']['#Params (M)'], measured['Swin-B']['#FLOPs (G)']) == ('87.8', '15.4')
    assert (measured['RVT-B']['#Params (M)'], measured['ConViT-B']['#Params (M)']) == ('91.8', '')
    printed = capsys.readouterr().out
    assert '6 of 6 numbers pass.' in printed and 'pvt_large_imagenet is not built: ' in printed
    monkeypatch.setattr(tool, 'size_of', lambda config, shapes: tool.Size(90.0, dict.fromkeys(shapes, 15.4)))
    assert tool.main(['III', '--check', '--out', 'out']) == 1
    rows = list(csv.DictReader((tmp_path / 'out/sizes.csv').open()))
    assert {row['verdict'] for row in rows if row['number'].startswith('parameters')} == {'too far'}
