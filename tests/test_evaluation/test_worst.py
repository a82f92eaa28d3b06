import cv2
import numpy as np
import pytest

from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.counts import Confusion
from mmrobust.evaluation.worst import error_map, find_worst, read_panels, those_of, write_panels

JPEG, PNG = b'\xff\xd8\xff\xe0 and so on', b'\x89PNG\r\n\x1a\n and so on'
PALETTE = [(128, 64, 128), (10, 200, 30)]


def _result(**shares):
    """Of each image's 100 pixels, all of class 0, so many are right."""
    images = {name: np.array([[right, 0], [right, 100 - right], [100, 0]]) for name, right in shares.items()}
    return Confusion(np.zeros((2, 2), np.int64), images)


def test_worst_first_each_image_once_and_no_corruption_takes_all():
    results = {
        Cell('fog', 1): _result(a=90, b=80, c=70),
        Cell('fog', 5): _result(a=2, b=4, c=6),
        Cell('snow', 3): _result(a=20, b=40, c=1),
    }
    worst = find_worst(results, 2)
    assert [(one.cell.key, one.image) for one in worst] == [('snow_3', 'c'), ('fog_5', 'a')]
    assert worst[0].miou == pytest.approx(1 / 2)  # 1% of class 0, and class 1 is predicted but not there
    assert [(one.cell.key, one.image) for one in find_worst(results, 9)] == [
        ('snow_3', 'c'),
        ('fog_5', 'a'),
        ('fog_5', 'b'),
    ]
    assert find_worst(results, 0) == [] and find_worst({}, 3) == []


def test_those_of_another_report_have_the_numbers_of_this_one():
    counts = {Cell('fog', 1): _result(a=90, b=80), Cell('snow', 3): _result(a=20)}
    cases = [
        {'cell': 'snow_3', 'image': 'a', 'mIoU': 99.0},
        {'cell': 'fog_1', 'image': 'c'},
        {'cell': 'rain', 'image': 'a'},
    ]
    [one] = those_of(cases, counts)
    assert (one.cell, one.image, one.miou) == (Cell('snow', 3), 'a', pytest.approx(20 / 2))


def test_error_map():
    truth, prediction = np.array([[0, 1, 255]]), np.array([[0, 0, 0]])
    assert error_map(truth, prediction, 2).tolist() == [[[235, 235, 235], [213, 94, 0], [0, 0, 0]]]


def test_what_has_no_label_is_not_ranked():
    result = Confusion(np.zeros((2, 2), np.int64), {'a': np.zeros((3, 2), np.int64)})
    assert find_worst({Cell('fog'): result}, 3) == []
    assert those_of([{'cell': 'fog', 'image': 'a'}], {Cell('fog'): result}) == []


def test_panels(tmp_path):
    image = np.full((300, 1024, 3), (200, 100, 0), np.uint8)
    classes = np.zeros((300, 1024), np.int64)
    classes[:, 512:] = 1
    classes[:, 768:] = 255
    write_panels(tmp_path / 'worst', 3, {'clean': image}, {'truth': classes, 'prediction': 0 * classes}, PALETTE)
    photo = cv2.imread(str(tmp_path / 'worst/3_clean.jpg'))
    assert photo.shape == (150, 512, 3) and np.abs(photo.mean((0, 1)) - (200, 100, 0)).max() < 3
    truth = cv2.imread(str(tmp_path / 'worst/3_truth.png'))[..., ::-1]
    assert {tuple(color) for color in truth[0].tolist()} == {*PALETTE, (0, 0, 0)}
    errors = cv2.imread(str(tmp_path / 'worst/3_errors.png'))[..., ::-1]
    assert errors[0, [0, 300, 500]].tolist() == [[235, 235, 235], [213, 94, 0], [0, 0, 0]]
    assert truth[0, 0].tolist() == list(PALETTE[0]) and truth[0, 300].tolist() == list(PALETTE[1])


@pytest.fixture
def folder(tmp_path):
    """Images of a first case with all panels, and of a second with one."""
    (tmp_path / 'worst').mkdir()
    files = {'0_clean.jpg': JPEG, '0_corrupted.jpg': JPEG, '0_truth.png': PNG, '0_prediction.png': PNG}
    for name, content in {**files, '1_image.jpg': JPEG}.items():
        (tmp_path / 'worst' / name).write_bytes(content)
    return tmp_path


def test_the_place_in_the_list_decides_the_files(folder):
    (folder / 'secret.jpg').write_bytes(JPEG)
    cases = [{'image': '../secret.jpg', 'cell': '../../etc', 'mIoU': 3.0, 'panels': {'x': 'y'}}, {'image': 'b'}]
    first, second = read_panels(folder, cases)
    assert first == {
        **cases[0],
        'panels': {'clean': JPEG, 'corrupted': JPEG, 'ground truth': PNG, 'prediction': PNG},
    }
    assert list(first['panels']) == ['clean', 'corrupted', 'ground truth', 'prediction']  # as on the page
    assert second == {'image': 'b', 'panels': {'image': JPEG}}


def test_more_cases_than_files(folder, tmp_path):
    assert [len(case['panels']) for case in read_panels(folder, [{}] * 4)] == [4, 1, 0, 0]
    assert read_panels(tmp_path / 'absent', [{'cell': 'fog_5'}]) == [{'cell': 'fog_5', 'panels': {}}]
    assert read_panels(folder, []) == []


def test_a_file_that_is_no_image(folder):
    (folder / 'worst' / '1_truth.png').write_text('<script>')
    with pytest.raises(
        ValueError, match=r"1_truth.png must be a JPEG or PNG file, got one that starts with b'<script>'"
    ):
        read_panels(folder, [{}, {}])


@pytest.mark.parametrize('worst', [None, 'ab', 3, {'image': 'a'}, [['a']], ['a']])
def test_no_list_of_cases(folder, worst):
    with pytest.raises(ValueError, match='worst must be a list of cases with image, cell and mIoU, got'):
        read_panels(folder, worst)
