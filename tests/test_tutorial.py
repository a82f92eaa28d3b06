"""docs/tutorial.ipynb runs, at a small size and in any folder, and what it is stored with is what it shows."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / 'docs/tutorial.ipynb'


@pytest.fixture(scope='module')
def stored() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def kinds(notebook: nbformat.NotebookNode) -> dict[str, list[str]]:
    """Source of each cell of code to the kinds of its outputs."""
    return {
        cell.source: sorted(
            {f'{output.output_type} {" ".join(sorted(output.get("data", {})))}' for output in cell.outputs}
        )
        for cell in notebook.cells
        if cell.cell_type == 'code'
    }


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
    return '\n'.join(output.text for output in outputs if output.output_type == 'stream')


def row(name: str, text: str) -> list[float]:
    """Numbers of a printed line."""
    return [float(number) for number in re.search(rf'^{name} +(.+)$', text, flags=re.MULTILINE)[1].split()]


def test_runs_at_a_small_size(stored, tmp_path, monkeypatch):
    """The tagged cell is followed by one with smaller numbers; everything else is as in the file: 20 s of one core."""
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    notebook = nbformat.from_dict(stored)
    (place,) = (index for index, cell in enumerate(notebook.cells) if 'parameters' in cell.metadata.get('tags', ()))
    small = nbformat.v4.new_code_cell('NUM_STREETS, ITERATIONS, NUM_IMAGES = 4, 2, 1')
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            cell.outputs = []
    notebook.cells.insert(place + 1, small)
    resources = {'metadata': {'path': str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name='python3', resources=resources).execute()
    found = kinds(notebook)
    assert found.pop(small.source) == []
    assert found == kinds(stored)
    assert all(0 <= value <= 100 for value in row('mPC', printed(notebook)))
    assert (tmp_path / 'mmrobust_tutorial/fan_tap_adl_minicity128/iter_2.pth').is_file()


def test_stored_outputs_are_of_one_run_and_small(stored):
    assert NOTEBOOK.stat().st_size < 400_000
    code = [cell for cell in stored.cells if cell.cell_type == 'code']
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.get('name') == 'stderr']
    assert 'site-packages' not in NOTEBOOK.read_text()


def test_stored_models_have_learned_something(stored):
    (constant,) = row('mIoU', printed(stored))
    assert len(row('clean_mIoU', printed(stored))) == 2
    assert all(mean > 4 * constant for mean in row('clean_mIoU', printed(stored)))
