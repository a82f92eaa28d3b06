"""Numbers that README and docs repeat are those of their source."""

import re

import pytest

from mmrobust.evaluation.paper_tables import paper_tables

from .pages import DOCS, REPO


def rows(text: str) -> dict[str, list[str]]:
    """First cell to the others of each row of Markdown tables."""
    lines = (line.strip('| ').split(' | ') for line in text.splitlines() if line.startswith('| '))
    return {first: cells for first, *cells in lines}


def test_the_papers_numbers_in_the_readme():
    readme = (REPO / 'README.md').read_text()
    shown = rows(readme.split('<!-- paper -->')[1].split('<!-- /paper -->')[0])
    table = paper_tables()['4']
    del shown['Cityscapes']  # the head, whose first cell is empty
    assert len(shown) == 5
    for name, cells in shown.items():
        values = table.row(name.replace('SegFormer', 'Segformer')).values  # as printed
        assert [float(cell) for cell in cells] == list(values.values()), name
    assert 'published, not reproduced here' in readme
    assert list(table.columns) == ['Cityscapes', 'Cityscapes-C', 'ACDC']


@pytest.mark.parametrize('quoted', ['measured.md'])
def test_ratios_are_those_of_the_performance_page(quoted):
    """``16 times as fast`` of a page is a rounded number of the table of targets."""
    performance = (DOCS / 'explanation/performance.md').read_text()
    measured = [float(value) for value in re.findall(r'│ +([\d.]+) │ +(?:yes|no) │', performance)]
    text = (DOCS / 'explanation' / quoted).read_text()
    for fast in re.findall(r'(\d+) times (?:as fast|under)', text):
        assert any(round(value) == int(fast) for value in measured), fast
    for ratio in re.findall(r'([\d.]+) x (?:time|memory)', text):
        digits = len(ratio.partition('.')[2])
        assert any(round(value, digits) == float(ratio) for value in measured), ratio
