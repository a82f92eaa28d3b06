"""Five numbers of a stream, without the stream."""

import numpy as np
import pytest

from mmrobust.analysis import Distribution


def stream(distribution: Distribution, values: np.ndarray, parts: int = 7) -> Distribution:
    for part in np.array_split(values, parts):
        distribution.add(part)
    return distribution


@pytest.mark.parametrize(('from_one', 'largest', 'tolerance'), [(False, 1, 0.00025), (True, 4096, 0.004)])
@pytest.mark.parametrize('number', [8, 9, 1000])
def test_quartiles_are_those_of_numpy_to_half_a_bin(from_one, largest, tolerance, number):
    values = np.random.default_rng(0).uniform(size=(number, 3)) ** 3
    if from_one:
        values = largest**values
    summaries = stream(Distribution(3, from_one), values).each()
    for head, summary in enumerate(summaries):
        column = values[:, head]
        expected = np.quantile(column, (0.25, 0.5, 0.75))
        bound = dict(rel=tolerance, abs=0) if from_one else dict(abs=tolerance, rel=0)
        for found, quartile in zip(summary[3:6], expected, strict=True):
            assert found == pytest.approx(quartile, **bound)
        assert summary.count == number
        assert summary.mean == pytest.approx(column.mean())
        assert (summary.minimum, summary.maximum) == (column.min(), column.max())


def test_constant_values_are_exact():
    summary = stream(Distribution(1), np.full((20, 1), 0.12345)).each()[0]
    assert summary[2:] == (0.12345,) * 5


def test_pooled_is_everything_together():
    first, second = (np.random.default_rng(seed).uniform(size=(50, 2)) for seed in (1, 2))
    pooled = Distribution.pooled([stream(Distribution(2), first), stream(Distribution(2), second)])
    everything = np.concatenate((first, second)).ravel()
    assert pooled.count == 200
    assert pooled.mean == pytest.approx(everything.mean())
    assert pooled[2:] == pytest.approx(np.quantile(everything, (0, 0.25, 0.5, 0.75, 1)), abs=0.00025)


def test_memory_does_not_grow_with_the_stream():
    distribution = Distribution(2)
    sizes = []
    for _ in range(3):
        distribution.add(np.random.default_rng(0).uniform(size=(100, 2)))
        sizes.append(sum(value.nbytes for value in vars(distribution).values() if isinstance(value, np.ndarray)))
    assert len(set(sizes)) == 1


def test_nan_is_refused():
    with pytest.raises(ValueError, match='not finite'):
        Distribution(1).add(np.array([[np.nan]]))
