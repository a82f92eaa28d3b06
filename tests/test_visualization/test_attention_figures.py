"""Figures of attention: what they draw, their files, and the same file for the same data."""

import csv

import numpy as np
import pytest

from mmrobust.visualization.attention_panels import (
    CSV_HEADER,
    HeatMap,
    Image,
    OverImage,
    panel_grid,
    panel_rows,
    to_pixels,
)
from tests.tool_loading import load_tool

write_figure = load_tool('analysis_tools/figure_files.py').write_figure
CHARTS = load_tool('analysis_tools/attention_charts.py')
Box, Boxes, dilation_bars, statistic_boxes = CHARTS.Box, CHARTS.Boxes, CHARTS.dilation_bars, CHARTS.statistic_boxes
sweep_figure = load_tool('analysis_tools/plot_sweep.py').sweep_figure

MAP = np.arange(9.0).reshape(3, 3)
STREET = np.full((4, 8, 3), 90, np.uint8)
ROWS = [[HeatMap(MAP, 12), HeatMap(MAP.T, 12)], [OverImage(STREET, (0.5, 0.25), np.ones((2, 4))), None]]


def test_panels_share_one_scale_and_have_titles():
    figure = panel_grid(ROWS, ['clean', 'corrupted'], ['layer 1', 'layer 2'])
    maps, other, over, empty, bar = figure.axes
    assert maps.get_title() == 'layer 1' and other.get_title() == 'layer 2'
    assert maps.get_ylabel() == 'clean\nquery token' and over.get_ylabel() == 'corrupted'
    images = [maps.images[0], other.images[0], over.images[1]]
    assert len({image.norm for image in images}) == 1
    np.testing.assert_array_equal(maps.images[0].get_array(), MAP)
    assert (over.lines[0].get_xdata()[0], over.lines[0].get_ydata()[0]) == (2, 2)
    assert not empty.axison
    assert bar.get_ylabel() == 'attention, multiples of 1 / N'
    pixels = to_pixels(figure)
    assert pixels.dtype == np.uint8 and pixels.shape[2] == 3 and len(np.unique(pixels)) > 20


def test_first_map_of_a_row_says_what_its_rows_are():
    figure = panel_grid([[Image(STREET), HeatMap(MAP, 12), HeatMap(MAP, 12)]], ['image 1'], ['image', 'a', 'b'])
    assert [ax.get_ylabel() for ax in figure.axes[:3]] == ['image 1', 'query token', '']
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ['1', '12']


def test_powers_of_two_have_uniform_attention_in_the_middle():
    over = OverImage(STREET, (0.5, 0.25), np.array([[0.0, 1.0], [2.0, 3.5]]))
    figure = panel_grid([[Image(STREET), over]], ['clean'], ['image', 'layer 1'], logarithmic=True)
    image, ax, bar = figure.axes
    norm = ax.images[1].norm
    assert norm(1.0) == pytest.approx(0.5) and norm(2.0) - norm(1.0) == pytest.approx(norm(1.0) - norm(0.5))
    assert norm(0.0) == 0  # no attention is no hole
    assert (image.get_xlabel(), ax.get_xlabel()) == ('', 'maximum 3.5')
    assert [label.get_text() for label in bar.get_yticklabels()] == ['0.5', '1', '2']


def test_data_of_the_panels():
    rows = list(panel_rows(ROWS, ['clean\nx', 'corrupted'], ['layer 1', 'layer 2']))
    assert rows[1] == ['clean x', 'layer 1', 1, 3.0, 4.0, 5.0]
    assert rows[4] == ['clean x', 'layer 2', 1, 1.0, 4.0, 7.0]
    assert rows[6:] == [['corrupted', 'layer 1', index, 1.0, 1.0, 1.0, 1.0] for index in (0, 1)]
    assert list(panel_rows([[Image(STREET)]], ['a'], ['b'])) == []


def test_boxes_are_the_five_numbers():
    box, flat = Box(0.0, 0.2, 0.4, 0.5, 0.9), Box(0.1, 0.1, 0.1, 0.1, 0.1)
    of_series = {('baseline', 'clean'): {None: box, 1: box, 2: flat}, ('baseline', 'corrupted'): {None: flat, 1: box}}
    figure = statistic_boxes([Boxes('share', of_series), Boxes('tokens', of_series, logarithmic=True)])
    ax, logarithmic = figure.axes
    assert ax.get_ylabel() == 'share' and logarithmic.get_yscale() == 'log'
    assert [label.get_text() for label in logarithmic.get_xticklabels()] == ['all', '1', '2']
    labels = [label.get_text() for label in logarithmic.get_yticklabels(which='both')]
    assert any(labels) and not any('10^' in label for label in labels)
    assert len(ax.patches) == 5 + 1  # and the grey behind those of all layers
    heights = [(patch.get_path().vertices[:, 1].min(), patch.get_path().vertices[:, 1].max()) for patch in ax.patches]
    assert heights.count((0.2, 0.5)) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['baseline, clean', 'baseline, corrupted']
    with_line = statistic_boxes([Boxes('share', of_series, uniform=0.3), Boxes('tokens', of_series)])
    lines = [[line for line in ax.lines if line.get_linestyle() == '--'] for ax in with_line.axes]
    assert [list(line.get_ydata()) for line in lines[0]] == [[0.3, 0.3]] and lines[1] == []
    assert with_line.legends[0].get_texts()[-1].get_text() == 'uniform attention'
    with pytest.raises(ValueError, match='at least one panel'):
        statistic_boxes([])


def test_bars_of_dilations_are_stacked_to_one():
    of_kinds = {'clean': {1: [0.5, 0.3, 0.2], 3: [0.1, 0.1, 0.8]}, 'corrupted': {1: [0.2, 0.2, 0.6], 3: [1, 0, 0]}}
    figure = dilation_bars({('TAP', 'mean weight'): of_kinds, ('TAP', 'share of tokens'): of_kinds})
    weights, shares = figure.axes
    assert (weights.get_title(), shares.get_title()) == ('TAP: mean weight', 'TAP: share of tokens')
    assert weights.get_ylabel() == 'share'
    bars = [(round(bar.get_x() + bar.get_width() / 2), bar.get_y(), bar.get_height()) for bar in weights.patches]
    expected = [(1, 0, 0.5), (1, 0.5, 0.3), (1, 0.8, 0.2), (3, 0, 0.1), (3, 0.1, 0.1), (3, 0.2, 0.8)]
    np.testing.assert_allclose(bars[:6], expected, atol=1e-9)
    assert [bool(bar.get_hatch()) for bar in weights.patches] == [False] * 6 + [True] * 6
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ['dilation 2', 'dilation 1', 'the token itself', 'clean', 'corrupted']
    with pytest.raises(ValueError, match='at least one model with TAP'):
        dilation_bars({})


def test_files_have_caption_and_data_and_do_not_change(tmp_path):
    def write(name):
        figure = panel_grid(ROWS, ['clean', 'corrupted'], ['layer 1', 'layer 2'])
        rows = panel_rows(ROWS, ['clean', 'corrupted'], ['layer 1', 'layer 2'])
        return write_figure(figure, tmp_path / name / 'maps', 'What was <done>.', CSV_HEADER, rows)

    first, second = write('first'), write('second')
    assert first == tmp_path / 'first/maps.png'
    assert first.read_bytes().startswith(b'\x89PNG')
    for kind in ('.png', '.svg', '.csv'):
        assert first.with_suffix(kind).read_bytes() == second.with_suffix(kind).read_bytes()
    assert 'What was &lt;done&gt;.' in first.with_suffix('.svg').read_text()
    lines = list(csv.reader(first.with_suffix('.csv').open()))
    assert lines[0] == list(CSV_HEADER) and lines[2] == ['clean', 'layer 1', '1', '3', '4', '5']


def test_sweep_draws_means_ranges_and_the_baseline():
    figure = sweep_figure({'TAP': {1: [40.0, 42.0], 4: [44.0, 44.0]}}, 'K', 'mIoU', baseline=39.0)
    (ax,) = figure.axes
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [41, 44])
    assert [label.get_text() for label in ax.get_xticklabels()] == ['1', '4']
    (bars,) = ax.collections
    np.testing.assert_array_equal([segment[:, 1] for segment in bars.get_segments()], [[40, 42], [44, 44]])
    assert [39, 39] in [list(line.get_ydata()) for line in ax.lines]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ('K', 'mIoU')


def test_sweep_on_a_logarithmic_axis():
    assert sweep_figure({'ADL': {0.1: [1], 1: [2]}}, 'lambda', 'mIoU', logarithmic=True).axes[0].get_xscale() == 'log'
    with pytest.raises(ValueError, match='must be above 0, got 0'):
        sweep_figure({'ADL': {0: [1], 1: [2]}}, 'lambda', 'mIoU', logarithmic=True)
