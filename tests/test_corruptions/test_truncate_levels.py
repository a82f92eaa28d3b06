import numpy as np

from mmrobust.corruptions.blur import FLOAT32_TOLERANCE, FLOAT64_TOLERANCE, truncate_levels

SAME = np.arange(256.0)


def test_fractions_are_cut_off_and_the_range_is_kept():
    levels = np.array([[-3, -0.4, 0, 0.9, 1.1, 99.5, 100.99, 254.9, 255.7, 300]], np.float32)
    assert truncate_levels(levels, SAME).tolist() == [[0, 0, 0, 0, 1, 99, 100, 254, 255, 255]]


def test_whole_levels_become_what_a_flat_image_becomes():
    flat = SAME.copy()
    flat[100] -= 1e-14
    flat[255] -= 1e-13
    for sign in (-1, 0, 1):
        levels = np.array([[99, 100, 101, 255]]) + sign * FLOAT64_TOLERANCE / 2
        assert truncate_levels(levels, flat, FLOAT64_TOLERANCE).tolist() == [[99, 99, 101, 254]]
        levels = np.array([[99, 100, 101, 255]], np.float32) + np.float32(sign * FLOAT32_TOLERANCE / 2)
        assert truncate_levels(levels, flat).tolist() == [[99, 99, 101, 254]]


def test_what_is_not_whole_is_left_alone():
    flat = SAME - 1e-14
    levels = np.array([[100 + 2 * FLOAT32_TOLERANCE, 101 - 2 * FLOAT32_TOLERANCE]], np.float32)
    assert truncate_levels(levels, flat).tolist() == [[100, 100]]


def test_images_keep_their_shape():
    levels = np.random.default_rng(0).uniform(0, 255, (4, 5, 3))
    assert np.array_equal(truncate_levels(levels, SAME, FLOAT64_TOLERANCE), levels.astype(np.uint8))
