import numpy as np
import pytest

from mmrobust.evaluation.statistics import (
    ALEXNET_FLIP_PROBABILITIES,
    benchmark_mean,
    flip_probability,
    flip_rates,
    top5,
    top5_distance,
)
from mmrobust.evaluation.statistics.perturbation_stability import (
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
    frame_pairs,
    is_noise,
)


def literal_pairs(num_frames, noise, difficulty):
    """Frame by frame, for every offset, as the protocol says it."""
    step = 1 if noise else difficulty
    for offset in range(step):
        reference = offset
        for frame in range(offset + step, num_frames, step):
            yield reference, frame
            if not noise:
                reference = frame


def literal_distance(earlier, later):
    """The double sum of Hendrycks and Dietterich over ranks from 1."""

    def rank(scores, label):  # of equal scores the first class is better
        return 1 + sum(
            other > scores[label] or (other == scores[label] and place < label) for place, other in enumerate(scores)
        )

    total = 0
    for label in range(len(earlier)):
        i, sigma = rank(earlier, label), rank(later, label)
        if i <= 5:
            total += sum(1 <= j - 1 <= 5 for j in range(min(i, sigma) + 1, max(i, sigma) + 1))
    return total


@pytest.mark.parametrize('difficulty', [1, 2, 3])
@pytest.mark.parametrize('perturbation', ['snow', 'shot_noise', 'translate', 'speckle_noise'])
def test_equals_the_literal_formulas(perturbation, difficulty):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, (3, 8, 12)).astype(float)  # many equal scores
    pairs = list(literal_pairs(8, 'noise' in perturbation, difficulty))
    distances = [np.mean([literal_distance(video[i], video[j]) for i, j in pairs]) for video in scores]
    flips = [np.mean([video[i].argmax() != video[j].argmax() for i, j in pairs]) for video in scores]
    classes = top5(scores)
    assert sorted(zip(*frame_pairs(8, perturbation, difficulty), strict=True)) == sorted(pairs)
    np.testing.assert_allclose(top5_distance(classes, perturbation, difficulty), distances)
    np.testing.assert_allclose(flip_probability(classes[..., 0], perturbation, difficulty), flips)
    assert min(flips) > 0 and len(set(distances)) == 3


def test_flips_by_hand():
    sequence = np.array([7, 7, 3, 7, 7])
    assert flip_probability(sequence, 'tilt') == 2 / 4  # 7-7, 7-3, 3-7, 7-7
    assert flip_probability(sequence, 'tilt', 2) == 2 / 3  # 7-3, 7-7, 3-7
    assert flip_probability(sequence, 'tilt', 3) == 0  # 7-7, 7-7
    for difficulty in (1, 2, 3):
        assert flip_probability(sequence, 'gaussian_noise', difficulty) == 1 / 4  # 7-7, 7-3, 7-7, 7-7
    assert flip_probability(np.array([1, 2, 2, 2, 2]), 'gaussian_noise') == 1
    assert flip_probability(np.array([1, 2, 2, 2, 2]), 'brightness') == 1 / 4
    assert flip_probability(np.stack([sequence, sequence * 0]), 'tilt').tolist() == [0.5, 0]


@pytest.mark.parametrize(
    ('later', 'distance'),
    [
        ([0, 1, 2, 3, 4], 0),
        ([1, 0, 2, 3, 4], 2),
        ([4, 1, 2, 3, 0], 8),
        ([0, 1, 2, 3, 9], 1),  # the fifth class falls to any rank from 6 on
        ([9, 0, 1, 2, 3], 5),  # each falls by one
        ([5, 6, 7, 8, 9], 15),  # the most
    ],
)
def test_top5_distance_by_hand(later, distance):
    assert top5_distance(np.array([[0, 1, 2, 3, 4], later]), 'snow') == distance


def test_the_first_of_equal_scores_is_better():
    assert top5(np.array([1.0, 5, 5, 0, 0, 1, 5])).tolist() == [1, 2, 6, 0, 5]
    assert top5(np.zeros(40)).tolist() == [0, 1, 2, 3, 4]


def test_rates():
    assert len(PERTURBATIONS) == 10 and EXTRA_PERTURBATIONS == ('speckle_noise', 'gaussian_blur', 'spatter', 'shear')
    assert [name for name in ALEXNET_FLIP_PROBABILITIES if is_noise(name)] == [
        *('gaussian_noise', 'shot_noise', 'speckle_noise')
    ]
    rates = flip_rates(ALEXNET_FLIP_PROBABILITIES)
    assert set(rates.values()) == {100.0}
    benchmark = {name: rates[name] for name in PERTURBATIONS}
    assert benchmark_mean(benchmark, PERTURBATIONS) == 100.0
    assert benchmark_mean(benchmark | {'tilt': 50.0}, PERTURBATIONS) == pytest.approx(95)
    assert flip_rates({'tilt': 0.0141}) == {'tilt': pytest.approx(20)}
    assert flip_rates({'tilt': 3.0}, {'tilt': 4.0}) == {'tilt': 75.0}
    with pytest.raises(
        ValueError, match='10 of the benchmark, got them with speckle_noise, gaussian_blur, spatter, sh'
    ):
        benchmark_mean(rates, PERTURBATIONS)


def test_rates_of_bootstrap_samples():
    samples = {name: value * np.array([1, 2]) for name, value in ALEXNET_FLIP_PROBABILITIES.items()}
    rates = flip_rates({name: samples[name] for name in PERTURBATIONS})
    np.testing.assert_allclose(benchmark_mean(rates, PERTURBATIONS), [100, 200])


@pytest.mark.parametrize(
    ('call', 'sentence'),
    [
        (lambda: flip_probability(np.zeros(9), 'mist'), "perturbation must be one of gaussian_noise, .*, got 'mist'"),
        (lambda: flip_probability(np.zeros(9), 'snow', 4), 'difficulty must be 1, 2 or 3, got 4'),
        (lambda: flip_probability(np.zeros(3), 'snow', 3), 'at least 4 frames, got 3'),
        (lambda: flip_probability(np.zeros(1), 'shot_noise', 3), 'at least 2 frames, got 1'),
        (lambda: top5(np.zeros((3, 4))), 'at least 5 classes, got 4'),
        (lambda: top5_distance(np.zeros((3, 6)), 'snow'), r'shape \(..., T, 5\), got \(3, 6\)'),
        (lambda: flip_rates({'mist': 0.1}), 'the reference has gaussian_noise, .*, got mist'),
        (lambda: flip_rates({'snow': 0.1}, {'snow': 0.0}), 'on snow must be above 0, got 0.0'),
        (lambda: benchmark_mean({'snow': 1.0}, PERTURBATIONS), 'got them without gaussian_noise, .*, scale$'),
    ],
)
def test_refusals(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
