"""Attention output and ADL from the same sweeps, against the plain formulas of both."""

import pytest
import torch
import torch.nn.functional as F

from mmrobust.ops import (
    Attention,
    attention_diversification_reference,
    attention_probs,
    diversified_attention,
)
from tests.test_ops.test_attention_diversification import MODES, ROUNDING, _view, _windows


def _assert_equal(query, key, value, gate=None, bias=None, regions=(None, None), **options):
    out, loss = diversified_attention(Attention(query, key, gate, bias, *regions), value, **options, block_entries=60)
    probs = attention_probs(Attention(query, key, gate, bias))
    expected = probs @ value
    loss_expected = attention_diversification_reference(
        probs, **options, query_regions=regions[0], key_regions=regions[1]
    )
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(loss, loss_expected, rtol=1e-10, atol=ROUNDING)
    inputs = [tensor for tensor in (query, key, value, gate, bias) if tensor is not None and tensor.is_leaf]
    weights = torch.randn_like(out)
    # both in one backward pass, and each alone
    for of_out, of_loss in ((1, 30), (1, 0), (0, 1)):
        got = torch.autograd.grad(of_out * (out * weights).sum() + of_loss * loss, inputs, retain_graph=True)
        wanted = torch.autograd.grad(
            of_out * (expected * weights).sum() + of_loss * loss_expected,
            inputs,
            retain_graph=True,
            materialize_grads=True,
        )
        for ours, theirs in zip(got, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-16 + 1e-10 * theirs.abs().max().item())
    assert loss > 0


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('per_head', [False, True])
@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize(('gate', 'bias'), [(False, False), (True, False), (False, True), (True, True)])
def test_equals_the_plain_formulas(mode, per_head, batch, gate, bias):
    query, key, gate, bias = _view(batch, gate=gate, bias=bias)
    value = torch.randn(batch, 3, 7, 4, dtype=torch.float64, requires_grad=True)
    _assert_equal(query, key, value, gate, bias, mode=mode, per_head=per_head)


@pytest.mark.parametrize('mode', MODES)
def test_windows_with_regions_and_padding(mode):
    """The output is that of all queries, also of those of padding, which take no part in the loss."""
    (query, key), _, bias, regions = _windows()
    value = torch.randn_like(key).requires_grad_()
    _assert_equal(query, key, value, bias=bias.detach().requires_grad_(), regions=regions, mode=mode, tau=1.2)


def test_more_queries_than_keys():
    query, key, _, _ = _view(2, 3, 9, 5)
    value = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    _assert_equal(query, key, value, tau=1.2)


def test_memory_layout_of_a_layer():
    """Query, key and value as a layer cuts them out of its projections: not contiguous."""
    torch.manual_seed(0)
    projected = torch.randn(2, 7, 3, 3, 4, dtype=torch.float64) * 2
    query, key, value = (part.requires_grad_() for part in projected.permute(2, 0, 3, 1, 4).unbind())
    _assert_equal(query, key, value, tau=1.5)


def test_low_precision_output_comes_from_the_fused_kernel():
    query, key, _, _ = (None if x is None else x.detach().bfloat16() for x in _view())
    value = torch.randn(2, 3, 7, 4).bfloat16()
    out, loss = diversified_attention(Attention(query, key), value)
    assert torch.equal(out, F.scaled_dot_product_attention(query, key, value, scale=1.0))
    assert loss.dtype == torch.float32 and loss > 0


def test_low_precision_with_a_gate():
    query, key, gate, _ = (None if x is None else x.detach().bfloat16() for x in _view(gate=True))
    value = torch.randn(2, 3, 7, 4).bfloat16()
    out, _ = diversified_attention(Attention(query, key, gate), value)
    expected = attention_probs(Attention(query, key, gate)) @ value.float()
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=2e-2, atol=2e-2)


def test_gradcheck():
    query, key, gate, bias = _view(1, 2, 4, 4, gate=True, bias=True)
    value = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)

    def both(value, *tensors):
        return diversified_attention(Attention(*tensors), value, block_entries=24)

    assert torch.autograd.gradcheck(both, (value, query, key, gate, bias))
