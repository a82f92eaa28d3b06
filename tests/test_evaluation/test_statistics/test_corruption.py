import numpy as np
import pytest

from mmrobust.corruptions import EXTRA, GROUPS
from mmrobust.evaluation.paper_tables import paper_models, paper_tables
from mmrobust.evaluation.statistics import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    ALEXNET_EXTRA_ERRORS,
    benchmark_mean,
    corruption_degradation,
    corruption_errors,
    mean_over_corruptions,
    mean_over_severities,
    raw_corruption_errors,
    relative_corruption_errors,
    retention,
)
from mmrobust.evaluation.statistics.corruption import BENCHMARK

CE, MCE = paper_models('3', 'ce/', {}), paper_models('3', 'mce/', {'mCE': 'mce'})

FOG, SNOW = ({(name, severity): error for severity in range(1, 6)} for name, error in (('fog', 40.0), ('snow', 60.0)))


def test_alexnet_is_its_own_reference():
    """Exactly: no rounding on the way."""
    ces = corruption_errors(ALEXNET_ERRORS)
    relative = relative_corruption_errors(ALEXNET_ERRORS, ALEXNET_CLEAN_ERROR)
    assert set(ces.values()) == {100.0} and benchmark_mean(ces, BENCHMARK) == 100.0
    assert set(relative.values()) == {100.0} and benchmark_mean(relative, BENCHMARK) == 100.0


def test_constants_of_alexnet():
    """The means by corruption as many repositories have them, and the accuracy that torchvision states."""
    means = (
        *(88.6428, 89.4468, 92.2640, 81.9880, 82.6268, 78.5948, 79.8360),
        *(86.6816, 82.6572, 81.9324, 56.4592, 85.3204, 64.6056, 71.7840, 60.6500),
    )
    assert list(BENCHMARK) == [name for names in GROUPS.values() for name in names]
    assert list(raw_corruption_errors(ALEXNET_ERRORS).values()) == pytest.approx(means, abs=1e-9)
    assert tuple(ALEXNET_EXTRA_ERRORS) == tuple(EXTRA)
    assert list(ALEXNET_EXTRA_ERRORS.values()) == pytest.approx([84.5, 78.7, 71.8, 65.8], abs=0.0501)
    torchvision = pytest.importorskip('torchvision')
    stated = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.meta['_metrics']['ImageNet-1K']['acc@1']
    assert pytest.approx(stated) == 100 - ALEXNET_CLEAN_ERROR


def test_hand_computed():
    errors = FOG | {('fog', 1): 20.0, ('fog', 5): 100.0}
    reference = dict.fromkeys(FOG, 80.0)
    assert raw_corruption_errors(errors) == {'fog': 48.0}
    assert corruption_errors(errors, reference) == {'fog': pytest.approx(60)}
    assert relative_corruption_errors(errors, 18, reference, 20) == {'fog': pytest.approx(50)}
    assert corruption_errors(errors) == {'fog': pytest.approx(100 * 48 / 81.9324)}
    assert relative_corruption_errors(errors, 18) == {'fog': pytest.approx(100 * 30 / (81.9324 - 43.478))}


@pytest.mark.parametrize(
    ('model', 'average'), [('FAN-B-Hybrid', 46.20), ('+ TAP', 44.96), ('+ ADL', 44.27), ('+ TAP & ADL', 43.52)]
)
def test_columns_of_table_3(model, average):
    """The last row's columns do not give the 43.7 that is printed."""
    assert tuple(CE[model]) == BENCHMARK
    assert benchmark_mean(CE[model], BENCHMARK) == pytest.approx(average, abs=0.005)
    assert MCE[model]['mCE'] == pytest.approx(average, abs=0.2)
    name = model if model == 'FAN-B-Hybrid' else f'FAN-B-Hybrid {model}'
    assert paper_tables()['III'].row(name).values['mce'] == pytest.approx(MCE[model]['mCE'], abs=0.11)


def test_bootstrap_samples():
    rng = np.random.default_rng(0)
    samples = {cell: error + rng.uniform(-0.5, 0.5, 7) for cell, error in ALEXNET_ERRORS.items()}
    clean = ALEXNET_CLEAN_ERROR + rng.uniform(-1, 1, 7)
    means = benchmark_mean(corruption_errors(samples), BENCHMARK)
    relative = benchmark_mean(relative_corruption_errors(samples, clean), BENCHMARK)
    assert means.shape == relative.shape == (7,)
    for draw in range(7):
        one = {cell: values[draw] for cell, values in samples.items()}
        assert means[draw] == pytest.approx(benchmark_mean(corruption_errors(one), BENCHMARK))
        of_one = benchmark_mean(relative_corruption_errors(one, clean[draw]), BENCHMARK)
        assert relative[draw] == pytest.approx(of_one)
    both = corruption_errors(samples, samples)
    assert all(np.array_equal(values, np.full(7, 100.0)) for values in both.values())


def test_extra_corruptions_have_an_error_but_no_part_in_the_mean():
    extra = {(name, severity): 42.0 for name in ALEXNET_EXTRA_ERRORS for severity in range(1, 6)}
    ces = corruption_errors(extra | ALEXNET_ERRORS)
    assert ces['spatter'] == pytest.approx(100 * 42 / 71.75)
    with pytest.raises(
        ValueError, match='over the 15 of the benchmark, got them with speckle_noise, gaussian_blur, sp'
    ):
        benchmark_mean(ces, BENCHMARK)
    assert benchmark_mean({name: ces[name] for name in BENCHMARK}, BENCHMARK) == 100.0


@pytest.mark.parametrize(
    ('call', 'sentence'),
    [
        (lambda: corruption_errors({('fog', 1): 5.0, ('fog', 3): 5.0}), '^fog needs severities 1 to 5, got 1, 3$'),
        (lambda: corruption_errors(FOG | {('fog', 0): 5.0}), 'got 0, 1, 2, 3, 4, 5'),
        (lambda: corruption_errors(FOG | {('fog', 2): 101.0}), r'0 to 100 percent, got 101.0 for fog at severity 2'),
        (lambda: corruption_errors(FOG | {('fog', 2): float('nan')}), 'got nan'),
        (lambda: corruption_errors({('mist', severity): 1.0 for severity in range(1, 6)}), 'got mist'),
        (lambda: corruption_errors(FOG | SNOW, FOG), '^the reference has fog, got snow$'),
        (lambda: corruption_errors(FOG, {('fog', 1): 5.0}), 'severities 1 to 5, got 1$'),
        (lambda: corruption_errors(FOG, dict.fromkeys(FOG, 0.0)), 'on fog must be above 0, got 0.0'),
        (lambda: relative_corruption_errors(FOG, 10, FOG, 40.0), 'on fog must be above 40.0, got 40.0'),
        (lambda: relative_corruption_errors(FOG, 10, FOG), 'both or neither'),
        (lambda: relative_corruption_errors(FOG, 10, reference_clean=5), 'both or neither'),
        (lambda: benchmark_mean({'fog': 1.0}, BENCHMARK), 'got them without gaussian_noise, .*, jpeg_compression$'),
        (lambda: benchmark_mean({'mist': 1.0}, BENCHMARK), 'got them without gaussian_noise, .* and with mist$'),
    ],
)
def test_refusals(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


CELLS = {('fog', 1): 80.0, ('fog', 2): 60.0, ('snow', 1): 50.0}


def test_every_corruption_counts_once():
    by_corruption = mean_over_severities(CELLS)
    assert by_corruption == {'fog': 70.0, 'snow': 50.0}
    assert mean_over_corruptions(by_corruption) == 60.0
    assert retention(60.0, 80.0) == 75.0


@pytest.mark.parametrize(
    ('model', 'average'), [('FAN-B-Hybrid', 67.08), ('+ TAP', 69.26), ('+ ADL', 69.37), ('+ TAP & ADL', 69.72)]
)
def test_columns_of_table_iv(model, average):
    """The first row's columns do not give the 67.3 that is printed."""
    row = paper_models('IV', 'cityscapes-c/', {})[model]
    assert mean_over_corruptions(row) == pytest.approx(average, abs=0.0051)
    if model != 'FAN-B-Hybrid':
        assert paper_models('IV', 'none/', {'average': 'cityscapes-c'})[model]['average'] == pytest.approx(
            average, abs=0.07
        )


def test_degradation():
    reference = {('fog', 1): 60.0, ('fog', 2): 40.0, ('snow', 1): 50.0}
    assert corruption_degradation(CELLS, reference) == {'fog': 60.0, 'snow': 100.0}
    assert set(corruption_degradation(CELLS, CELLS).values()) == {100.0}
    with pytest.raises(ValueError, match='same cells, got 3 and 1'):
        corruption_degradation(CELLS, {('fog', 1): 60.0})


def test_nothing_is_left_of_nothing():
    assert retention(0, 0) is None
