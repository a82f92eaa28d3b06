"""The benchmark of the corruptions, beside a stand-in for the original package."""

import sys
from pathlib import Path

import pytest

TOOL = 'analysis_tools/benchmark_corruptions.py'
SMALL = ['--size', '48', '32', '--runs', '2', '--corruptions', 'contrast', 'glass_blur']

STAND_IN = """
import sys, time
from pathlib import Path
calls = 0
def corrupt(image, severity, corruption_name):
    global calls
    calls += 1
    with open(Path(__file__).with_name('calls.txt'), 'a') as file:
        file.write(corruption_name + ' ')
    assert severity == 2 and image.shape == (32, 48, 3)
    print('ValueError for Snow, Exception handling')
    start = time.process_time()
    while calls % 2 == 0 and time.process_time() - start < 0.25:  # every second call is the timed one
        pass
"""


def install(folder: Path, version: str, program: str = STAND_IN) -> None:
    (folder / f'imagecorruptions-{version}.dist-info').mkdir()
    metadata = f'Metadata-Version: 2.1\nName: imagecorruptions\nVersion: {version}\n'
    (folder / f'imagecorruptions-{version}.dist-info' / 'METADATA').write_text(metadata)
    (folder / 'imagecorruptions.py').write_text(program)


def rows(printed: str) -> dict[str, list[str]]:
    """The cells of a table by their first."""
    cells = [[cell.strip() for cell in line.split('│')[1:-1]] for line in printed.splitlines()]
    return {row[0]: row[1:] for row in cells if row}


def test_without_original_there_is_one_ratio(tool, capsys):
    tool.main(SMALL)
    table = rows(capsys.readouterr().out)
    assert list(table) == ['contrast', 'glass_blur', 'together']
    assert {len(row) for row in table.values()} == {3}


def test_original_is_timed_in_its_own_process(tool, capsys, tmp_path, monkeypatch):
    install(tmp_path, '1.1.2')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    tool.main([*SMALL, '--severity', '2', '--original', sys.executable])
    printed = capsys.readouterr().out
    assert 'its glass_blur' in printed
    assert (tmp_path / 'calls.txt').read_text().split() == ['contrast'] * 6 + ['glass_blur'] * 2
    table = rows(printed)
    assert {len(row) for row in table.values()} == {5}
    for name, total in (('contrast', 0.25), ('glass_blur', 0.25), ('together', 0.5)):
        ours, _, _, original, ratio = map(float, table[name])
        assert total <= original < total + 0.05
        assert ratio >= 10 and original / (ours + 0.0006) - 0.1 <= ratio


@pytest.mark.parametrize(
    ('version', 'program', 'reason'),
    [
        (None, '', 'it is not installed there.'),
        ('1.1.5', STAND_IN, 'version 1.1.5 is installed there.'),
        ('1.1.2', 'import module_of_2020', "ModuleNotFoundError: No module named 'module_of_2020'."),
        ('1.1.2', STAND_IN.replace('calls = 0', 'sys.exit()'), 'it ended without a word.'),
    ],
)
def test_environment_without_the_original_is_one_sentence(
    tool, capsys, tmp_path, monkeypatch, version, program, reason
):
    if version:
        install(tmp_path, version, program)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    with pytest.raises(SystemExit) as exit_:
        tool.main([*SMALL, '--original', sys.executable])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.endswith(f'{sys.executable} cannot run imagecorruptions 1.1.2: {reason}\n')


@pytest.mark.parametrize(
    ('argv', 'sentence'),
    [
        (['--original', 'no-such-python'], "There is no interpreter 'no-such-python'."),
        (['--original-runs', '3'], '--original-runs one from 1 to that.'),
        (['--runs', '0'], '--runs takes a number from 1'),
    ],
)
def test_mistake_is_one_sentence(tool, capsys, argv, sentence):
    with pytest.raises(SystemExit) as exit_:
        tool.main([*SMALL, *argv])
    assert exit_.value.code == 2
    assert sentence in capsys.readouterr().err.strip().splitlines()[-1]
