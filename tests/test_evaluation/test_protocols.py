import pytest

from mmrobust.corruptions import CORRUPTIONS
from mmrobust.evaluation.benchmarks import CLEAN, PRESETS, Cell, preset_groups, select_cells, shard
from mmrobust.evaluation.published import TABLE_IV


@pytest.mark.parametrize(('preset', 'num_cells'), [('kamann', 72), ('michaelis', 75), ('fan', 57), ('severity5', 16)])
def test_number_of_cells(preset, num_cells):
    cells = select_cells(preset)
    assert len(set(cells)) == len(cells) == num_cells
    assert {cell.corruption for cell in cells} == {name for names in preset_groups(preset).values() for name in names}
    assert {cell.corruption for cell in cells} <= set(CORRUPTIONS)


def test_kamann_is_the_papers():
    cells = select_cells('kamann')
    assert all({cell.corruption for cell in cells} == set(row['corruptions']) for row in TABLE_IV.values())
    assert {cell.severity for cell in cells if cell.corruption.endswith('_noise')} == {1, 2, 3}
    assert [cell.severity for cell in cells if cell.corruption == 'fog'] == [1, 2, 3, 4, 5]


def test_named_corruptions_and_severities_replace_the_presets():
    assert select_cells('kamann', ['fog', 'shot_noise'], [2]) == [Cell('fog', 2), Cell('shot_noise', 2)]
    assert [cell.severity for cell in select_cells('kamann', ['shot_noise'])] == [1, 2, 3]
    assert [cell.severity for cell in select_cells('kamann', ['zoom_blur'])] == [1, 2, 3, 4, 5]
    assert len(select_cells('kamann', severities=[4])) == 16


@pytest.mark.parametrize('count', [1, 2, 3, 7])
def test_every_cell_is_in_one_shard(count):
    cells = [CLEAN, *select_cells('kamann')]
    parts = [shard(cells, index, count) for index in range(count)]
    assert sorted(cell for part in parts for cell in part) == sorted(cells)


def test_names_are_distinct():
    cells = [CLEAN, *(Cell(name, severity) for name in CORRUPTIONS for severity in (1, 2, 3, 4, 5))]
    assert len({cell.name for cell in cells}) == len(cells)
    assert [Cell.of_name(cell.name) for cell in cells] == cells


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: select_cells('koopman'), f"one of {', '.join(PRESETS)}, got 'koopman'"),
        (lambda: select_cells('kamann', ['dust']), "gaussian_noise.*got 'dust'"),
        (lambda: select_cells('kamann', None, [0]), 'severity must be 1 to 5, got 0'),
        (lambda: select_cells('kamann', None, [6]), 'severity must be 1 to 5, got 6'),
        (lambda: shard([CLEAN], 3, 3), '0/3 to 2/3, got 3/3'),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize('name', ['fog_7', 'fog_0', 'fog_' + '9' * 5000, 'fog_\u0663', 'fog_05'])
def test_what_ends_in_another_number_is_no_severity(name):
    assert Cell.of_name(name) == Cell(name, 0)
