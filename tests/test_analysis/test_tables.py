"""Which dilations TAP chooses: weights by hand, and what a model shows of its own."""

import numpy as np
import pytest
import torch

from mmrobust.analysis import DilationTable, Distribution, dilation_shares
from mmrobust.models import FAN
from mmrobust.models.layers import TokenAwareAvgPool


def test_dilations_by_hand():
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.4, 0.35, 0.25]]).view(1, 2, 2, 3)
    mean, chosen = dilation_shares(weights)
    torch.testing.assert_close(mean, torch.tensor([[0.4, 0.4125, 0.1875]]))
    torch.testing.assert_close(chosen, torch.tensor([[0.75, 0.25, 0]]))


def test_dilations_of_a_layer_sum_to_one():
    tap = TokenAwareAvgPool(8, 4).eval()
    for shares in dilation_shares(tap.weights(torch.randn(2, 12, 8), (3, 4))):
        assert shares.shape == (2, 4)
        torch.testing.assert_close(shares.sum(-1), torch.ones(2))


def constant_weights(tap: TokenAwareAvgPool, weights: list[float]) -> None:
    """Let TAP give every token the same weights."""
    first, norm, second = tap.predictor
    torch.nn.init.zeros_(first.weight)
    norm.bias.data = torch.tensor(weights).log()
    torch.nn.init.dirac_(second.weight)


def test_table_of_a_model(tiny_hybrid):
    backbone = FAN(tiny_hybrid, dict(num_branches=3)).eval()
    given = [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]
    for block, weights in zip(backbone.blocks, given, strict=True):
        constant_weights(block.tap, weights)
    table = DilationTable()
    for images in (2, 4):
        with torch.no_grad():
            table.add(backbone(torch.randn(images, 3, 32, 64), lambda view: view.tap_weights)[1], paired=True)
    found = {row[:4]: row[4:] for row in table.rows()}
    assert list(found)[:4] == [('clean', 1, dilation, 'mean weight') for dilation in range(3)] + [
        ('corrupted', 1, 0, 'mean weight')
    ]
    assert len(found) == 2 * 2 * 3 * 2
    for images in ('clean', 'corrupted'):
        for layer, weights in enumerate(given, start=1):
            for dilation, weight in enumerate(weights):
                summary = found[images, layer, dilation, 'mean weight']
                assert summary[0] == 3 and summary[1:] == pytest.approx([weight] * 6, abs=1e-5)
                chosen = float(weight == max(weights))
                assert found[images, layer, dilation, 'share of tokens'] == (3, *[chosen] * 6)


def test_table_tells_clean_from_corrupted_and_skips_layers_without_tap():
    clean, corrupted = torch.tensor([[0.7, 0.3], [0.6, 0.4]]), torch.tensor([[0.2, 0.8], [0.9, 0.1]])
    table = DilationTable()
    table.add([None, torch.stack((clean, corrupted)).view(2, 1, 2, 2)], paired=True)
    means = {row[:4]: row[5] for row in table.rows()}
    assert means == pytest.approx(
        {
            ('clean', 2, 0, 'mean weight'): 0.65,
            ('clean', 2, 1, 'mean weight'): 0.35,
            ('corrupted', 2, 0, 'mean weight'): 0.55,
            ('corrupted', 2, 1, 'mean weight'): 0.45,
            ('clean', 2, 0, 'share of tokens'): 1,
            ('clean', 2, 1, 'share of tokens'): 0,
            ('corrupted', 2, 0, 'share of tokens'): 0.5,
            ('corrupted', 2, 1, 'share of tokens'): 0.5,
        }
    )


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
