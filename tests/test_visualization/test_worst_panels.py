import pytest

from mmrobust.visualization import read_worst_panels

JPEG, PNG = b'\xff\xd8\xff\xe0 and so on', b'\x89PNG\r\n\x1a\n and so on'


@pytest.fixture
def folder(tmp_path):
    """Pictures of a first case with all panels, and of a second with one."""
    (tmp_path / 'worst').mkdir()
    files = {'0_clean.jpg': JPEG, '0_corrupted.jpg': JPEG, '0_truth.png': PNG, '0_prediction.png': PNG}
    for name, content in {**files, '1_picture.jpg': JPEG}.items():
        (tmp_path / 'worst' / name).write_bytes(content)
    return tmp_path


def test_the_place_in_the_list_decides_the_files(folder):
    (folder / 'secret.jpg').write_bytes(JPEG)
    cases = [{'picture': '../secret.jpg', 'cell': '../../etc', 'mIoU': 3.0, 'panels': {'x': 'y'}}, {'picture': 'b'}]
    first, second = read_worst_panels(folder, cases)
    assert first == {
        **cases[0],
        'panels': {'clean': JPEG, 'corrupted': JPEG, 'ground truth': PNG, 'prediction': PNG},
    }
    assert list(first['panels']) == ['clean', 'corrupted', 'ground truth', 'prediction']  # as on the page
    assert second == {'picture': 'b', 'panels': {'picture': JPEG}}


def test_more_cases_than_files(folder, tmp_path):
    assert [len(case['panels']) for case in read_worst_panels(folder, [{}] * 4)] == [4, 1, 0, 0]
    assert read_worst_panels(tmp_path / 'absent', [{'cell': 'fog_5'}]) == [{'cell': 'fog_5', 'panels': {}}]
    assert read_worst_panels(folder, []) == []


def test_a_file_that_is_no_picture(folder):
    (folder / 'worst' / '1_truth.png').write_text('<script>')
    with pytest.raises(
        ValueError, match=r"1_truth.png must be a JPEG or PNG file, got one that starts with b'<script>'"
    ):
        read_worst_panels(folder, [{}, {}])


@pytest.mark.parametrize('worst', [None, 'ab', 3, {'picture': 'a'}, [['a']], ['a']])
def test_no_list_of_cases(folder, worst):
    with pytest.raises(ValueError, match='worst must be a list of cases with picture, cell and mIoU, got'):
        read_worst_panels(folder, worst)
