import cv2
import numpy as np
import pytest

from mmrobust.evaluation.benchmarks import Cell, ConfusionResult, find_worst, write_panels

PALETTE = [(128, 64, 128), (10, 200, 30)]


def _result(**shares):
    """Of each picture's 100 pixels, all of class 0, so many are right."""
    images = {name: np.array([[right, 0], [right, 100 - right], [100, 0]]) for name, right in shares.items()}
    return ConfusionResult(np.zeros((2, 2), np.int64), images)


def test_worst_first_each_picture_once_and_no_corruption_takes_all():
    results = {
        Cell('fog', 1): _result(a=90, b=80, c=70),
        Cell('fog', 5): _result(a=2, b=4, c=6),
        Cell('snow', 3): _result(a=20, b=40, c=1),
    }
    worst = find_worst(results, 2)
    assert [(one.cell.name, one.picture) for one in worst] == [('snow_3', 'c'), ('fog_5', 'a')]
    assert worst[0].miou == pytest.approx(1 / 2)  # 1 % of class 0, and class 1 is predicted but not there
    assert [(one.cell.name, one.picture) for one in find_worst(results, 9)] == [
        ('snow_3', 'c'),
        ('fog_5', 'a'),
        ('fog_5', 'b'),
    ]
    assert find_worst(results, 0) == [] and find_worst({}, 3) == []


def test_what_has_no_label_is_not_ranked():
    result = ConfusionResult(np.zeros((2, 2), np.int64), {'a': np.zeros((3, 2), np.int64)})
    assert find_worst({Cell('fog'): result}, 3) == []


def test_panels(tmp_path):
    picture = np.full((300, 1024, 3), (200, 100, 0), np.uint8)
    classes = np.zeros((300, 1024), np.int64)
    classes[:, 512:] = 1
    classes[:, 768:] = 255
    write_panels(tmp_path / 'worst', 3, {'clean': picture}, {'truth': classes}, PALETTE)
    photo = cv2.imread(str(tmp_path / 'worst/3_clean.jpg'))
    assert photo.shape == (150, 512, 3) and np.abs(photo.mean((0, 1)) - (200, 100, 0)).max() < 3
    truth = cv2.imread(str(tmp_path / 'worst/3_truth.png'))[..., ::-1]
    assert {tuple(color) for color in truth[0].tolist()} == {*PALETTE, (0, 0, 0)}
    assert truth[0, 0].tolist() == list(PALETTE[0]) and truth[0, 300].tolist() == list(PALETTE[1])
