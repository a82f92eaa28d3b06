"""Pooling and ADL of any size against the plain formulas, in value and gradient; NaN is never hidden."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrobust.ops import (
    ADL_MODES,
    Attention,
    attention_diversification,
    attention_diversification_reference,
    attention_probs,
    dilated_windows,
    diversified_attention,
    kernel_windows,
    token_pooling,
    token_pooling_pytorch,
    weighted_avg_pool,
    weighted_avg_pool_reference,
)
from mmrobust.ops.token_pooling_pytorch import FUSED, IN_BLOCKS
from tests.test_fuzz.examples import examples

# no attention of these sizes is exactly at one of these thresholds, where rounding would decide
TAUS = (0.0, 0.31, 0.93, 1.13, 1.71, 2.57)
ODD = (math.nan, math.inf, -math.inf)


def assert_close(got, expected):
    """Equal, NaN included, but for rounding in proportion to the largest value, or to 1."""
    for ours, theirs in zip(got, expected, strict=True):
        sizes = theirs[theirs.isfinite()].abs()
        atol = 1e-13 + 1e-10 * (sizes.max().item() if sizes.numel() else 0.0)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=atol, equal_nan=True)


@st.composite
def maps(draw, smallest=0):
    """Tokens ``(B, H, W, C)``, weights ``(B, H, W, K)`` and windows; some axes may be empty."""
    batch, channels = draw(st.integers(smallest, 3)), draw(st.integers(smallest, 7))
    height, width = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    windows = draw(st.sampled_from([dilated_windows, kernel_windows]))(draw(st.integers(1, 5)))
    torch.manual_seed(draw(st.integers(0, 2**32)))
    x = torch.randn(batch, height, width, channels, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(batch, height, width, len(windows), dtype=torch.float64).softmax(-1)
    return x, weights.requires_grad_(), windows


@pytest.mark.parametrize('form', [FUSED, IN_BLOCKS], ids=['fused', 'in blocks'])
@examples(40, 1500)
@given(maps=maps(), block_entries=st.sampled_from([1, 20, 10**6]))
def test_pooling(form, maps, block_entries):
    x, weights, windows = maps
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_pooling, '_form', lambda: form)
        patch.setattr(token_pooling_pytorch, '_BLOCK_ENTRIES', block_entries)
        patch.setattr(token_pooling_pytorch, '_MIN_CHANNELS', 2)
        direction = torch.randn_like(x)
        for function in (weighted_avg_pool, weighted_avg_pool_reference):
            out = function(x, weights, windows)
            results.append((out, *torch.autograd.grad(out, (x, weights), direction)))
    assert_close(*results)


@pytest.mark.parametrize('form', [FUSED, IN_BLOCKS], ids=['fused', 'in blocks'])
@examples(20, 600)
@given(maps=maps(smallest=1), value=st.sampled_from(ODD), in_weights=st.booleans(), place=st.integers(0, 10**6))
def test_pooling_does_not_hide_what_is_not_finite(form, maps, value, in_weights, place):
    x, weights, windows = maps
    wrong = (weights if in_weights else x).detach().flatten()
    wrong[place % len(wrong)] = value
    inputs = (x, wrong.view_as(weights)) if in_weights else (wrong.view_as(x), weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_pooling, '_form', lambda: form)
        out = weighted_avg_pool(*inputs, windows)
    expected = weighted_avg_pool_reference(*inputs, windows)
    assert torch.equal(out.isfinite(), expected.isfinite())
    assert torch.equal(out.isnan(), expected.isnan())


@st.composite
def attentions(draw):
    """query, key, value, gate, bias and regions of one layer, and the options of ADL."""
    batch, heads, dim = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 5))
    num_queries, num_keys = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    split = draw(st.booleans())
    num_keys = num_queries if split else num_keys
    sharpness = draw(st.sampled_from([0.3, 1.0, 4.0]))
    with_gate, with_bias = draw(st.booleans()), draw(st.booleans())
    num_regions = draw(st.integers(1, 3))
    options = dict(tau=draw(st.sampled_from(TAUS)), mode=draw(st.sampled_from(ADL_MODES)), per_head=draw(st.booleans()))
    torch.manual_seed(draw(st.integers(0, 2**32)))

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64)

    query, key = sharpness * normal(batch, heads, num_queries, dim), normal(batch, heads, num_keys, dim)
    value = normal(batch, heads, num_keys, dim)
    gate = normal(heads, num_queries, num_keys).exp() if with_gate else None
    bias = normal(batch, heads, num_queries, num_keys) if with_bias or split else None
    regions = None, None
    if split:  # the last number is that of padding, which lies in no region
        of_tokens = torch.randint(num_regions + 1, (batch, num_queries))
        of_tokens[0, 0] = 0  # one region at least
        bias = bias.masked_fill((of_tokens[:, :, None] != of_tokens[:, None])[:, None], -math.inf)
        members = of_tokens[:, None] == torch.arange(num_regions)[:, None]
        regions = members, members
    tensors = [None if one is None else one.requires_grad_() for one in (query, key, value, gate, bias)]
    return tensors, regions, options


def plain(tensors, regions, options):
    """Output and ADL by the plain formulas."""
    query, key, value, gate, bias = tensors
    probs = attention_probs(Attention(query, key, gate, bias))
    loss = attention_diversification_reference(probs, **options, query_regions=regions[0], key_regions=regions[1])
    return probs @ value, loss


def gradients(outputs, tensors):
    inputs = [one for one in tensors if one is not None]
    return torch.autograd.grad(sum(outputs), inputs, allow_unused=True, materialize_grads=True)


@examples(60, 2000)
@given(attention=attentions(), block_entries=st.sampled_from([1, 40, None]))
def test_adl_alone(attention, block_entries):
    (query, key, value, gate, bias), regions, options = attention
    tensors = [query, key, gate, bias]
    attention = Attention(*tensors, *regions)
    loss = attention_diversification(attention, **options, block_entries=block_entries)
    expected = plain((query, key, value, gate, bias), regions, options)[1]
    assert -1e-15 <= loss <= 1 + 1e-12  # in pairwise mode a difference of two sums
    assert_close([loss, *gradients([loss], tensors)], [expected, *gradients([expected], tensors)])


@examples(60, 2000)
@given(attention=attentions(), block_entries=st.sampled_from([1, 40, None]))
def test_adl_with_the_output(attention, block_entries):
    tensors, regions, options = attention
    query, key, value, gate, bias = tensors
    attention = Attention(query, key, gate, bias, *regions)
    out, loss = diversified_attention(attention, value, **options, block_entries=block_entries)
    out_expected, expected = plain(tensors, regions, options)
    direction = torch.randn_like(out)
    got = gradients([(out * direction).sum(), 10 * loss], tensors)
    wanted = gradients([(out_expected * direction).sum(), 10 * expected], tensors)
    assert_close([out, loss, *got], [out_expected, expected, *wanted])


@examples(30, 800)
@given(attention=attentions(), value=st.sampled_from(ODD[:2]), which=st.integers(0, 1), place=st.integers(0, 10**6))
def test_adl_does_not_hide_what_is_not_finite(attention, value, which, place):
    tensors, _, options = attention
    tensors = [None if one is None else one.detach().clone() for one in tensors]
    tensors[4] = None  # a mask may keep the wrong token away from all others
    wrong = tensors[which].flatten()
    wrong[place % len(wrong)] = value
    tensors[which] = wrong.view_as(tensors[which])
    expected = plain(tensors, (None, None), options)
    query, key, value, gate, bias = tensors
    attention = Attention(query, key, gate, bias)
    assert math.isfinite(expected[1]) == math.isfinite(attention_diversification(attention, **options))
    got = diversified_attention(attention, value, **options)
    assert [torch.equal(ours.isnan(), theirs.isnan()) for ours, theirs in zip(got, expected, strict=True)] == [True] * 2


@examples(10, 100)
@given(
    sizes=st.sampled_from([(0, 0), (0, 2), (2, 0)]),
    num_keys=st.integers(1, 3),
    mode=st.sampled_from(ADL_MODES),
    per_head=st.booleans(),
)
def test_adl_of_no_row_is_zero(sizes, num_keys, mode, per_head):
    batch, num_queries = sizes
    query = torch.ones(batch, 2, num_queries, 3, requires_grad=True)
    key = torch.ones(batch, 2, num_keys, 3, requires_grad=True)
    loss = attention_diversification(Attention(query, key), mode=mode, per_head=per_head)
    out, same = diversified_attention(Attention(query, key), key, mode=mode, per_head=per_head)
    assert loss == same == 0 and out.shape == query.shape
    assert all(not grad.any() for grad in torch.autograd.grad(loss, (query, key)))
