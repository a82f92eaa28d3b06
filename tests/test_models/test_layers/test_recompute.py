import pytest
import torch
from torch import nn

from mmrobust.models.layers import recompute


def _net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))


def _step(run, training=True):
    """Gradients, and batch statistics, of two steps."""
    net = _net().train(training)
    for seed in (1, 2):
        torch.manual_seed(seed)
        run(net, torch.randn(5, 4)).square().sum().backward()
    return {name: parameter.grad for name, parameter in net.named_parameters()}, dict(net.named_buffers())


@pytest.mark.parametrize('training', [True, False])
def test_gradients_and_running_statistics_are_those_of_one_run(training):
    expected, statistics = _step(lambda net, x: net(x), training)
    gradients, found = _step(lambda net, x: recompute(net, x, norms=net), training)
    assert found['1.num_batches_tracked'] == (2 if training else 0)
    torch.testing.assert_close(gradients, expected, rtol=0, atol=0)
    torch.testing.assert_close(found, statistics, rtol=0, atol=0)


def test_compiled():
    expected, statistics = _step(lambda net, x: net[:2](x))

    @torch.compile(fullgraph=True, backend='aot_eager')
    def run(net, x):
        return recompute(net[:2], x, norms=net)

    gradients, found = _step(run)
    torch.testing.assert_close(gradients, expected)
    torch.testing.assert_close(found, statistics)


def test_nested():
    def nested(net, x):
        return recompute(lambda y: net[3](recompute(net[:3], y, norms=net)), x, norms=net)

    expected, statistics = _step(lambda net, x: net(x))
    gradients, found = _step(nested)
    torch.testing.assert_close(gradients, expected, rtol=0, atol=0)
    torch.testing.assert_close(found, statistics, rtol=0, atol=0)


def test_only_the_arguments_are_kept():
    kept = []
    x = torch.randn(5, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        recompute(_net(), x)
    assert all(tensor is x for tensor in kept)


def test_without_gradient_nothing_runs_twice():
    runs = []
    with torch.no_grad():
        recompute(lambda x: runs.append(x), torch.ones(1))
    assert len(runs) == 1
