"""ECE, reliability and rejection against formulas that look at every pixel."""

import numpy as np
import pytest

from mmrobust.evaluation.statistics import (
    BINS,
    LEVELS,
    STEPS,
    class_iou,
    confidence_counts,
    confusion_matrix,
    expected_calibration_error,
    kept_areas,
    mean_iou_of_areas,
    reliability,
)

K = 4


def pixels(confidence, right=None, seed=0, ignored=0.0):
    """Levels, labels and predictions of an image, right with this probability, or as often as it is confident."""
    rng = np.random.default_rng(seed)
    label = rng.integers(K, size=confidence.shape)
    hit = rng.random(confidence.shape) < (confidence if right is None else right)
    prediction = np.where(hit, label, (label + 1) % K)
    label[rng.random(confidence.shape) < ignored] = 255
    return np.minimum(confidence * LEVELS, LEVELS - 1).astype(np.int16), label, prediction


def plain_ece(confidence, label, prediction):
    """Of every pixel, with the numbers of Guo et al.: sum over bins of n_b / n |acc - conf|."""
    judged = label != 255
    confidence, right = confidence[judged], (label == prediction)[judged]
    error = 0.0
    for index in range(15):
        inside = (confidence >= index / 15) & ((confidence < (index + 1) / 15) | (index == 14))
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return 100 * error


@pytest.mark.parametrize('seed', range(3))
def test_ece_equals_the_formula_over_pixels(seed):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.25, 1, (60, 80)) ** rng.uniform(0.2, 2)
    levels, label, prediction = pixels(confidence, right=0.6, seed=seed, ignored=0.2)
    counts, _ = confidence_counts(levels, label, prediction, K)
    assert expected_calibration_error(counts) == pytest.approx(plain_ece(confidence, label, prediction), abs=0.005)
    assert counts[0].sum() == (label != 255).sum()


def test_ece_of_known_models():
    calibrated, overconfident = np.linspace(0.3, 1, 640_000).reshape(800, 800), np.full((400, 500), 0.9)
    assert expected_calibration_error(confidence_counts(*pixels(calibrated), K)[0]) < 0.3
    levels, label, prediction = pixels(overconfident, right=0.0)
    label[:, :300] = prediction[:, :300]  # right on 60%
    counts, _ = confidence_counts(levels, label, prediction, K)
    assert expected_calibration_error(counts) == pytest.approx(30, abs=0.01)
    confidence, accuracy = reliability(counts)
    assert np.isnan(confidence).sum() == np.isnan(accuracy).sum() == BINS - 1
    assert (np.nanmean(confidence), np.nanmean(accuracy)) == pytest.approx((90, 60), abs=0.01)
    # a model that is always right and always sure
    sure = confidence_counts(*pixels(np.ones((9, 9))), K)[0]
    assert expected_calibration_error(sure) == pytest.approx(0, abs=0.01)


def test_ignored_pixels_count_nowhere():
    levels, label, prediction = pixels(np.full((8, 8), 0.7), ignored=0.5)
    other = prediction.copy()
    other[label == 255] = (other[label == 255] + 2) % K
    other_levels = np.where(label == 255, 0, levels)
    for one, same in zip(
        confidence_counts(levels, label, prediction, K), confidence_counts(other_levels, label, other, K), strict=True
    ):
        np.testing.assert_array_equal(one, same)
    nothing = confidence_counts(levels, np.full((8, 8), 255), prediction, K)
    assert not any(of.any() for of in nothing) and np.isnan(expected_calibration_error(nothing[0]))


def test_areas_are_those_of_the_confusion():
    levels, label, prediction = pixels(np.random.default_rng(0).uniform(0.2, 1, (30, 40)), ignored=0.1)
    counts, areas = confidence_counts(levels, label, prediction, K)
    confusion = confusion_matrix(label, prediction, K)
    np.testing.assert_array_equal(areas.sum(0), [np.diagonal(confusion), confusion.sum(0), confusion.sum(1)])
    assert counts[1].sum() == np.trace(confusion)


def test_rejection_equals_sorting_the_pixels():
    """With a level for each step of its own, so that the least confident pixels are known."""
    confidence = np.repeat((STEPS + 0.5) / LEVELS, 40).reshape(-1, 40)
    levels, label, prediction = pixels(confidence, seed=3)
    _, areas = confidence_counts(levels, label, prediction, K)
    for rejected in (0, 1, len(STEPS) // 3, len(STEPS) - 1):
        kept = confusion_matrix(label[rejected:], prediction[rejected:], K)
        found = kept_areas(areas, rejected / len(STEPS))
        expected = [np.diagonal(kept), kept.sum(0), kept.sum(1)]
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert mean_iou_of_areas(found) == pytest.approx(np.nanmean(class_iou(kept)))
    # half a step more: half of its pixels of each kind
    half = kept_areas(areas, 2.5 / len(STEPS))
    np.testing.assert_allclose(half, (kept_areas(areas, 2 / len(STEPS)) + kept_areas(areas, 3 / len(STEPS))) / 2)


def test_steps_tell_confident_pixels_apart():
    assert STEPS[0] == 0 and STEPS[-1] == LEVELS - 1 and (np.diff(STEPS) > 0).all()
    assert (STEPS > 0.99 * LEVELS).sum() > 40


@pytest.mark.parametrize(
    ('levels', 'message'),
    [
        (np.full((2, 3), -1), f'levels must be 0 to {LEVELS - 1}, got -1'),
        (np.full((2, 3), LEVELS), 'levels must be 0 to'),
        (np.zeros((3, 2), np.int64), 'must have one shape'),
    ],
)
def test_what_is_no_confidence_is_refused(levels, message):
    with pytest.raises(ValueError, match=message):
        confidence_counts(levels, np.zeros((2, 3), np.int64), np.zeros((2, 3), np.int64), K)
