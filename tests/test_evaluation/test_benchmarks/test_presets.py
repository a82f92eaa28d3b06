import pytest

from mmrobust.corruptions import CORRUPTIONS
from mmrobust.evaluation.benchmarks.presets import PRESETS, preset_groups, select_cells
from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.paper_tables import paper_models


@pytest.mark.parametrize(('preset', 'num_cells'), [('kamann', 72), ('michaelis', 75), ('fan', 57), ('severity5', 16)])
def test_number_of_cells(preset, num_cells):
    cells = select_cells(preset)
    assert len(set(cells)) == len(cells) == num_cells
    assert {cell.name for cell in cells} == {name for names in preset_groups(preset).values() for name in names}
    assert {cell.name for cell in cells} <= set(CORRUPTIONS)


def test_kamann_is_the_papers():
    cells = select_cells('kamann')
    assert all({cell.name for cell in cells} == set(row) for row in paper_models('IV', 'cityscapes-c/', {}).values())
    assert {cell.severity for cell in cells if cell.name.endswith('_noise')} == {1, 2, 3}
    assert [cell.severity for cell in cells if cell.name == 'fog'] == [1, 2, 3, 4, 5]


def test_named_corruptions_and_severities_replace_the_presets():
    assert select_cells('kamann', ['fog', 'shot_noise'], [2]) == [Cell('fog', 2), Cell('shot_noise', 2)]
    assert [cell.severity for cell in select_cells('kamann', ['shot_noise'])] == [1, 2, 3]
    assert [cell.severity for cell in select_cells('kamann', ['zoom_blur'])] == [1, 2, 3, 4, 5]
    assert len(select_cells('kamann', severities=[4])) == 16


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: select_cells('koopman'), f"one of {', '.join(PRESETS)}, got 'koopman'"),
        (lambda: select_cells('kamann', ['dust']), "gaussian_noise.*got 'dust'"),
        (lambda: select_cells('kamann', None, [0]), 'severity must be 1 to 5, got 0'),
        (lambda: select_cells('kamann', None, [6]), 'severity must be 1 to 5, got 6'),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
