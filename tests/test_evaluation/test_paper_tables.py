"""The paper's tables: they agree with themselves where the paper does, and every system is accounted for."""

import pytest

from mmrobust.evaluation.paper_tables import paper_tables
from tests.tool_loading import load_tool

zoo = load_tool('reproduction/entries.py').zoo


def average(row, prefix: str) -> float:
    values = [value for measure, value in row.values.items() if measure.startswith(prefix) and value is not None]
    return sum(values) / len(values)


def test_there_are_these_tables():
    assert list(paper_tables()) == ['1', '2', '3', '4', '5', 'I', 'II', 'III', 'IV', 'STL']


@pytest.mark.parametrize(
    ('table', 'prefix', 'averages'),
    [('3', 'ce/', [46.20, 44.96, 44.27, 43.52]), ('IV', 'cityscapes-c/', [67.08, 69.26, 69.37, 69.72])],
)
def test_averages_of_fan(table, prefix, averages):
    rows = paper_tables()[table].rows[-4:]
    assert [average(row, prefix) for row in rows] == pytest.approx(averages, abs=0.006)


@pytest.mark.parametrize(('table', 'prefix', 'overall'), [('3', 'ce/', 'mce'), ('IV', 'cityscapes-c/', 'cityscapes-c')])
def test_printed_averages_are_those_of_the_columns_or_noted(table, prefix, overall):
    for row in paper_tables()[table].rows:
        near = abs(average(row, prefix) - row.values[overall]) <= 0.1
        noted = row.note is not None and f'average to {average(row, prefix):.2f}' in row.note
        assert near != noted, row


def test_a_system_has_one_number_in_all_tables_or_a_note():
    seen = {}
    for table in paper_tables().values():
        for row in table.rows:
            if row.note is not None and 'prints' in row.note:
                continue
            for measure in row.values.keys() & {'imagenet', 'mce', 'cityscapes', 'cityscapes-c', 'parameters', 'macs'}:
                # Table 3 averages its columns, other tables print 46.1 and 44.4
                if (table.name, measure) != ('3', 'mce') and row.configs:
                    seen.setdefault((row.configs[0], measure), set()).add(row.values[measure])
    assert {key: values for key, values in seen.items() if len(values) > 1} == {}


@pytest.mark.parametrize('table', paper_tables().values(), ids=lambda table: f'table_{table.name}')
def test_every_system_is_in_the_zoo(table):
    for row in table.rows:
        assert row.configs or table.name == 'II', row
        assert set(row.configs) <= set(zoo()), row


def test_a_wrong_row_is_named():
    with pytest.raises(ValueError, match=r"Table 5 has no row 'ViT': choose from DeiT-B, "):
        paper_tables()['5'].row('ViT')
