"""A report as text and back, and what of a results.json is read or refused."""

import dataclasses
import json

import numpy as np
import pytest

from mmrobust.evaluation.benchmarks.cityscapes_c import CityscapesC, summarize
from mmrobust.evaluation.cells import CLEAN, Cell
from mmrobust.evaluation.comparison import change, is_significant
from mmrobust.evaluation.counts import Confusion
from mmrobust.evaluation.renderers import to_csv, to_markdown, to_terminal
from mmrobust.evaluation.report import Column, Number, Report


def _report(right=70, **provenance):
    """Two images of 100 pixels, of which so many are right, 10 fewer at each severity."""

    def counts(share):
        return Confusion.of_matrices({f'{name}.png': np.array([[share, 100 - share], [0, 100]]) for name in 'ab'})

    found = {CLEAN: counts(right)} | {Cell('fog', level): counts(right - 10 * level) for level in (1, 2)}
    results = json.loads(json.dumps(summarize(found, {'weather': ('fog',)}, ['road', 'car'])))
    provenance = {'config': 'configs/net.py', 'benchmark': 'cityscapes-c', 'num_images': 2, **provenance}
    layout = CityscapesC.layout(results, provenance)
    return Report(layout, results, provenance, ['road', 'car'], [[0, 0, 1], [2, 3, 4]], [{'image': 'a', 'cell': 'b'}])


def test_round_trip():
    report = _report()
    text = report.to_json()
    again = Report.from_json(json.loads(text))
    assert again == report and again.to_json() == text
    content = json.loads(text)
    assert content['schema'] == 2 and content['classes'] == ['road', 'car'] and content['palette'][1] == [2, 3, 4]
    assert len(text.splitlines()) < 600, 'a thousand draws are one line'
    odd = dataclasses.replace(report, provenance={'note': '[  1,   2 ]'})
    assert json.loads(odd.to_json())['provenance'] == odd.provenance


def test_in_a_notebook():
    report = _report()
    clean, mean = (report.results[key] for key in ('clean_mIoU', 'mPC'))
    text = f'{clean:.2f}', f'{mean:.2f}'
    assert repr(report).startswith('<Report of net on cityscapes-c: ') and len(repr(report)) < 200
    title, _, head, ends, row = report._repr_markdown_().splitlines()
    assert title == 'net: Cityscapes-C' and ends.count('---:') == head.count('|') - 1
    assert all(number in row and number in repr(report) for number in text)


def test_numbers_have_an_interval_and_a_count():
    report = _report()
    clean = report.first('clean_mIoU')
    assert clean == Number(report.results['clean_mIoU'], *report.results['clean_mIoU_interval'], 2)
    (grid,) = (table for table in report.layout.tables if table.role == 'grid')
    assert report.rows(grid) == ['clean', 'fog_1', 'fog_2']
    assert report.number(grid, 'clean', grid.columns[0]) == clean
    assert report.number(grid, 'fog_9', grid.columns[0]).value is None
    half = report.number(report.headline, '', Column('', '', of='clean_mIoU'))
    assert half.value == 100 - clean.value and half.low == 100 - clean.high


def test_change_is_paired_and_needs_the_same_cells():
    base, other = _report(), _report(60)
    column = base.headline.columns[1]
    found = change(other, base, base.headline, '', column)
    assert found.value == other.results['mPC'] - base.results['mPC'] < 0 and is_significant(found)
    corruptions = base.layout.table('conditions')
    assert change(other, base, corruptions, 'fog', corruptions.columns[0]).low is not None
    del other.results['cells']['fog_2']
    assert change(other, base, base.headline, '', column) == Number()


def test_renderers():
    report = _report()
    lines = to_csv(report).splitlines()
    assert lines[0] == 'corruption,severity,mIoU,mIoU_low,mIoU_high' and lines[1].startswith('clean,0,')
    assert lines[3] == ','.join(map(str, ['fog', 2, *_cell(report, 'fog_2')]))
    page = to_markdown(report, 'net on it')
    assert page.startswith('# net on it\n\nmIoU in percent.') and '## By severity\n| severity | mIoU |' in page
    assert to_terminal(report, 'net on it').splitlines() == page.splitlines()[:7]


def _cell(report, name):
    cell = report.results['cells'][name]
    return [cell['mIoU'], *cell['mIoU_interval']]


@pytest.mark.parametrize(
    ('path', 'value', 'sentence'),
    [
        (('schema',), 3, 'its schema must be 2, got 3; run it again with this version'),
        (('schema',), None, 'its schema must be 2, got None; run it again'),
        (('schema',), 1, 'its schema must be 2, got 1; run it again'),
        (('layout',), None, "layout must be Layout, got 'None'"),
        (('layout', 'tables'), [], 'layout must have a table at least'),
        (('layout', 'tables', 0, 'columns', 0, 'decimals'), '2', "columns / decimals must be int, got '2'"),
        (('layout', 'tables', 0, 'columns'), 5, 'columns must be'),
        (('layout', 'title'), 5, "layout / title must be str, got '5'"),
        (('results', 'cells'), [], 'results / cells must hold values by name'),
        (('palette',), 5, 'classes and palette must be lists'),
    ],
)
def test_what_is_damaged_is_named(path, value, sentence):
    content = json.loads(_report().to_json())
    *outer, last = path
    holder = content
    for step in outer:
        holder = holder[step]
    holder[last] = value
    with pytest.raises(ValueError, match=sentence):
        Report.from_json(content)


def test_what_a_layout_lacks_is_named():
    content = json.loads(_report().to_json())
    del content['layout']['main']
    with pytest.raises(ValueError, match='layout lacks main'):
        Report.from_json(content)


def test_fields_of_a_later_version_are_left_out():
    report = _report()
    content = json.loads(report.to_json())
    content['layout']['tables'][0]['columns'][0]['colour'] = 'red'
    assert Report.from_json(content) == dataclasses.replace(report)
