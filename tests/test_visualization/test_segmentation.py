import numpy as np
import pytest

from mmrobust.visualization import side_by_side

PALETTE = [[255, 0, 0], [0, 255, 0]]


def test_colours_of_each_map():
    image = np.full((4, 60, 3), 7, np.uint8)
    truth = np.zeros((4, 60), np.uint8)
    truth[0, 0] = 255
    row = side_by_side(image, {'truth': truth, 'ours': np.ones((4, 60), np.int64)}, PALETTE)
    assert row.shape[1:] == (180, 3) and row.dtype == np.uint8
    assert (row[-4:, :60] == 7).all()
    assert (row[-4, 60] == 0).all() and (row[-1, 60:120] == PALETTE[0]).all()
    assert (row[-4:, 120:] == PALETTE[1]).all()


def test_titles_differ():
    image, label = np.zeros((4, 60, 3), np.uint8), np.zeros((4, 60), np.uint8)
    header = side_by_side(image, {'a': label, 'b': label}, PALETTE)[:-4]
    assert (header[:, 60:120] != header[:, 120:]).any()


@pytest.mark.parametrize(
    ('label', 'message'),
    [
        (np.zeros((3, 60), np.uint8), r'as large as the image, \(4, 60\), got \(3, 60\)'),
        (np.full((4, 60), 2), r'0 to 1 and 255, got \{2\}'),
    ],
)
def test_maps_that_do_not_fit(label, message):
    with pytest.raises(ValueError, match=message):
        side_by_side(np.zeros((4, 60, 3), np.uint8), {'truth': label}, PALETTE)
