"""Boxes around what one model gets right and another wrong."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mmrobust.evaluation.page_charts import COLORS
from tests.tool_loading import load_tool

DIFFERENCES = load_tool('analysis_tools/segmentation_differences.py')
Difference, Scene = DIFFERENCES.Difference, DIFFERENCES.Scene
find_differences, map_errors = DIFFERENCES.find_differences, DIFFERENCES.map_errors
segmentation_figure = DIFFERENCES.segmentation_figure

TRUTH = np.zeros((64, 128), np.uint8)
TRUTH[40:, :] = 1
TRUTH[:4, :] = 255


def prediction(*wrong: tuple[slice, slice]) -> np.ndarray:
    found = np.where(TRUTH == 255, 0, TRUTH).astype(np.uint8)
    for part in wrong:
        found[part] = 2
    return found


def test_both_directions_largest_first():
    reference = prediction(np.s_[10:20, 10:30], np.s_[45:60, 60:100])
    other = prediction(np.s_[10:22, 90:110])
    assert find_differences(reference, other, TRUTH) == [
        Difference(45, 60, 60, 100, 600, True),
        Difference(10, 10, 20, 30, 200, True),
        Difference(10, 90, 22, 110, 240, False),
    ]
    assert len(find_differences(reference, other, TRUTH, max_boxes=1)) == 2


def test_what_is_no_difference():
    both_wrong = prediction(np.s_[10:20, 10:30])
    assert find_differences(both_wrong, both_wrong, TRUTH) == []
    ignored, sliver, small = (prediction(part) for part in (np.s_[:4, :], np.s_[30:31, :], np.s_[10:14, 10:14]))
    for reference in (ignored, sliver, small):
        assert find_differences(reference, prediction(), TRUTH) == []


def test_areas_with_a_small_gap_are_one():
    reference = prediction(np.s_[10:20, 10:30], np.s_[10:20, 31:50])
    assert find_differences(reference, prediction(), TRUTH) == [Difference(10, 10, 20, 50, 390, True)]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match='maps must have one shape'):
        find_differences(TRUTH, TRUTH[:, :-1], TRUTH)


def test_figure_draws_the_boxes_on_every_panel():
    image = np.full((64, 128, 3), 120, np.uint8)
    wrong = prediction(np.s_[10:20, 10:30])
    scene = Scene(image, TRUTH, {'baseline': wrong, 'ours': prediction()}, {'baseline': 90.0, 'ours': 100.0})
    palette = [(128, 64, 128), (244, 35, 232), (70, 70, 70)]
    figure, boxes = segmentation_figure([scene, scene], palette, ('road', 'sidewalk', 'building'))
    assert boxes == [{'ours': [Difference(10, 10, 20, 30, 200, True)]}] * 2
    for ax in figure.axes:
        assert ax.images[0].get_array().shape[1] == 4 * 128
        corners = {patch.get_xy() for patch in ax.patches}
        header = ax.images[0].get_array().shape[0] - 64
        assert corners == {(panel * 128 + 10, header + 10) for panel in range(4)}
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ['road', 'sidewalk', 'building', 'right, baseline wrong', 'wrong, baseline right']


def test_map_says_who_is_wrong():
    reference, other = prediction(np.s_[10:20, :]), prediction(np.s_[15:30, :])
    found = map_errors(reference, other, TRUTH)
    color = [tuple(found[row, 0].tolist()) for row in (2, 5, 12, 17, 25)]
    rgb = [tuple(round(255 * part) for part in to_rgb(name)) for name in (COLORS[1], COLORS[0])]
    assert color[1:3] + color[4:] == [(255, 255, 255), *rgb]
    assert len(set(color)) == 5  # no class, right, only one wrong, both, only the other
    assert (found[2] == found[2, 0]).all()


def test_figure_of_errors_has_a_panel_more_and_no_boxes():
    image = np.full((64, 128, 3), 120, np.uint8)
    wrong = prediction(np.s_[10:20, 10:30])
    scene = Scene(image, TRUTH, {'baseline': wrong, 'ours': prediction()}, {'baseline': 9.0, 'ours': 10.0}, 'fog')
    figure, _ = segmentation_figure([scene], [(128, 64, 128)] * 3, ('road', 'sidewalk', 'building'), errors=True)
    (ax,) = figure.axes
    drawn = ax.images[0].get_array()
    assert drawn.shape[1] == 5 * 128 and not ax.patches
    np.testing.assert_array_equal(drawn[-64:, -128:], map_errors(wrong, prediction(), TRUTH))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[3:] == ['only baseline wrong', 'only ours wrong', 'both wrong']


def test_a_single_model_has_no_differences():
    image = np.zeros((64, 128, 3), np.uint8)
    scene = Scene(image, TRUTH, {'alone': prediction()}, {'alone': 100.0})
    assert segmentation_figure([scene], [(0, 0, 0)] * 3, ('a', 'b', 'c'))[1] == [{}]
