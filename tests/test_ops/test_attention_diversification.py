import math

import pytest
import torch

from mmrobust.ops import (
    ADL_MODES,
    Attention,
    attention_diversification,
    attention_diversification_reference,
    attention_probs,
    kept_rows,
)

MODES = ADL_MODES
ROUNDING = 1e-15  # of a difference of two sums that are about 1, as in pairwise mode


def _view(batch=2, heads=3, num_queries=7, num_keys=7, sharpness=2.0, sink=3.0, gate=False, bias=False):
    """Attention sharp enough, and drawn enough to one key, to be seen by both modes."""
    torch.manual_seed(batch + heads + num_queries)
    query = torch.randn(batch, heads, num_queries, 4, dtype=torch.float64) * sharpness
    key = torch.randn(batch, heads, num_keys, 4, dtype=torch.float64)
    query[..., 0] += sink
    key[:, :, 0, 0] += sink
    tensors = [query, key]
    shape = (heads, num_queries, num_keys)
    tensors.append(torch.rand(shape, dtype=torch.float64) + 0.5 if gate else None)
    tensors.append(torch.randn(shape, dtype=torch.float64) if bias else None)
    return [None if tensor is None else tensor.requires_grad_() for tensor in tensors]


def _assert_equal(view, **options):
    inputs = [tensor for tensor in view if tensor is not None]
    ours = attention_diversification(Attention(*view), **options, block_entries=50)
    reference = attention_diversification_reference(attention_probs(Attention(*view)), **options)
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=ROUNDING)
    if reference.requires_grad:
        wanted = torch.autograd.grad(reference, inputs)
        for got, want in zip(torch.autograd.grad(ours, inputs), wanted, strict=True):
            # a gradient that is 0 by symmetry is rounding noise in both forms
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-16 + 1e-10 * want.abs().max().item())
    return ours


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('per_head', [False, True])
@pytest.mark.parametrize('batch', [1, 2, 5])
@pytest.mark.parametrize(('num_queries', 'num_keys'), [(1, 1), (2, 2), (7, 7), (12, 12), (5, 9)])
def test_equals_reference_in_value_and_gradient(mode, per_head, batch, num_queries, num_keys):
    view = _view(batch, 3, num_queries, num_keys)
    _assert_equal(view, mode=mode, per_head=per_head, tau=1.5)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize(('gate', 'bias'), [(True, False), (False, True), (True, True)])
def test_gate_and_bias_get_their_gradients(mode, gate, bias):
    assert _assert_equal(_view(gate=gate, bias=bias), mode=mode) > 0


@pytest.mark.parametrize('mode', MODES)
def test_bias_of_each_image(mode):
    query, key, _, _ = _view()
    bias = torch.randn(2, 1, 7, 7, dtype=torch.float64, requires_grad=True)
    _assert_equal([query, key, None, bias], mode=mode)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('tau', [0.0, 1.0, 5.0])
def test_threshold(mode, tau):
    _assert_equal(_view(), mode=mode, tau=tau)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('per_head', [False, True])
def test_gradcheck(mode, per_head):
    query, key, gate, bias = _view(2, 2, 4, 4, gate=True, bias=True)

    def loss(*view):
        return attention_diversification(Attention(*view), mode=mode, per_head=per_head, tau=1.2, block_entries=24)

    assert loss(query, key, gate, bias) > 0
    assert torch.autograd.gradcheck(loss, (query, key, gate, bias))


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('per_head', [False, True])
@pytest.mark.parametrize('with_regions', [False, True])
def test_kept_rows_are_counted(mode, per_head, with_regions):
    """Row by row; where there are two regions, a row in none of them sees nothing, and is not counted."""
    query, key, gate, bias = (one.detach() for one in _view(2, 3, 9, 9, 1.0, 0.0, True, True))
    regions = None
    if with_regions:
        regions = torch.zeros(2, 2, 9, dtype=torch.bool)
        regions[:, 0, :4] = regions[:, 1, 4:8] = True
        apart = torch.full((9, 9), -torch.inf, dtype=torch.float64)
        apart[:4, :4] = apart[4:8, 4:8] = 0
        apart[8, 8] = 0
        bias = bias + apart
    attention = Attention(query, key, gate, bias, regions, regions)
    maps = attention_probs(attention) if per_head else attention_probs(attention).mean(1, keepdim=True)
    threshold, counted = (1.6 / 4, 8) if with_regions else (1.6 / 9, 9)
    kept = [sum(float(entry) >= threshold for entry in row) for row in maps[..., :counted, :].flatten(0, 2)]
    found = kept_rows(attention, tau=1.6, mode=mode, per_head=per_head)
    assert found.active.item() == pytest.approx(sum(n > 0 for n in kept) / len(kept))
    assert found.single.item() == pytest.approx(sum(n == 1 for n in kept) / len(kept))
    assert 0 < found.single <= found.active


@pytest.mark.parametrize('mode', MODES)
def test_block_size_changes_nothing(mode):
    query, key, _, _ = _view(3, 2, 11, 11)
    whole = attention_diversification(Attention(query, key), mode=mode)
    for block_entries in (1, 22, 100, 500):
        found = attention_diversification(Attention(query, key), mode=mode, block_entries=block_entries)
        torch.testing.assert_close(found, whole)


def test_hand_computed_values():
    """Two tokens: rows (1, 0) and (0.9, 0.1) at tau = 1, so 0.1 < 1/2 is dropped, and all rows point one way."""
    attn = torch.tensor([[1.0, 0.0], [0.9, 0.1]]).view(1, 1, 2, 2)
    assert attention_diversification_reference(attn, tau=1.0).item() == pytest.approx(1.0)
    # at tau = 0 nothing is dropped: mean (0.95, 0.05)
    norm = math.hypot(0.95, 0.05)
    first, second = 0.95 / norm, (0.9 * 0.95 + 0.1 * 0.05) / (norm * math.hypot(0.9, 0.1))
    assert attention_diversification_reference(attn, tau=0.0).item() == pytest.approx((first + second) / 2)


@pytest.mark.parametrize('num_tokens', [4, 49])
def test_analytic_cases(num_tokens):
    """A single sink column is maximal. Purely diagonal attention is 1 / sqrt(N), unseen by the released form, and 0 in
    the pairwise one."""
    identity = 100 * torch.eye(num_tokens, dtype=torch.float64)[None, None]
    sink = torch.zeros(1, 1, num_tokens, num_tokens, dtype=torch.float64)
    sink[..., 0] = 10
    key = torch.eye(num_tokens, dtype=torch.float64)[None, None]
    assert attention_diversification(Attention(sink, key)).item() == pytest.approx(1.0, abs=1e-4)
    assert attention_diversification(Attention(identity, key)).item() == pytest.approx(num_tokens**-0.5)
    for mode in ('official', 'pairwise'):
        assert attention_diversification(Attention(identity, key), mode=mode).item() == 0
    for mode in MODES:
        assert attention_diversification(Attention(sink, key), mode=mode).item() == pytest.approx(1.0, abs=1e-4)
        assert (
            attention_diversification(Attention(torch.zeros_like(sink), key), mode=mode) == 0
        )  # uniform: below the threshold


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('per_head', [False, True])
@pytest.mark.parametrize('tau', [0.0, 2.0])
def test_rows_that_are_all_equal_have_one(mode, per_head, tau):
    query, key, _, _ = _view(2, 3, 7, 7)
    equal = Attention(query[:, :, :1].expand(-1, -1, 7, -1), key)
    assert attention_diversification(equal, mode=mode, per_head=per_head, tau=tau).item() == pytest.approx(1, abs=1e-12)


def test_pairwise_is_the_mean_cosine_over_all_pairs():
    """Written out pair by pair; and rows that are all equal have 1."""
    torch.manual_seed(0)
    attn = (torch.randn(1, 1, 5, 5, dtype=torch.float64) * 2).softmax(-1)
    kept = [row * (row >= 1 / 5) for row in attn[0, 0]]
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    cosines = [kept[i] @ kept[j] / (kept[i].norm() * kept[j].norm()) for i, j in pairs]
    loss = attention_diversification_reference(attn, tau=1.0, mode='pairwise')
    torch.testing.assert_close(loss, torch.stack(cosines).mean())
    equal = attn[:, :, :1].expand(-1, -1, 5, -1)
    torch.testing.assert_close(
        attention_diversification_reference(equal, tau=0.0, mode='pairwise'), torch.ones(()).double()
    )


def test_sampled_rows_are_the_loss_of_these_rows():
    """Of as many rows as there are it is the loss itself; of fewer, in pairwise mode, an estimate of it."""
    query, key, _, _ = _view(2, 3, 12, 12)
    for mode in MODES:
        whole = attention_diversification(Attention(query, key), mode=mode)
        assert torch.equal(attention_diversification(Attention(query, key), mode=mode, sample_rows=12), whole)
    estimates = [
        attention_diversification(Attention(query, key), mode='pairwise', sample_rows=5).item() for _ in range(400)
    ]
    error = torch.tensor(estimates).std().item() / 20
    assert 0 < error < 0.01
    assert abs(sum(estimates) / 400 - whole.item()) < 4 * error
    (gradient,) = torch.autograd.grad(attention_diversification(Attention(query, key), sample_rows=5), query)
    assert (gradient[0].abs().sum((0, 2)) > 0).sum() <= 5  # only the drawn rows of an image have one


def test_sampled_rows_take_their_gate_bias_and_regions_along():
    inputs, _, bias, regions = _windows()
    gate = torch.rand(2, 9, 9, dtype=torch.float64) + 0.5
    torch.manual_seed(0)
    drawn = torch.rand(3, 9).argsort(-1)[:, :4]
    torch.manual_seed(0)
    got = attention_diversification(Attention(*inputs, gate, bias, *regions), tau=1.0, sample_rows=4)
    probs = attention_probs(Attention(*inputs, gate, bias))
    rows = probs.gather(2, drawn[:, None, :, None].expand(-1, 2, -1, 9))
    rows_of_regions = regions[0].gather(2, drawn[:, None].expand(-1, 3, -1))
    want = attention_diversification_reference(rows, 1.0, query_regions=rows_of_regions, key_regions=regions[1])
    torch.testing.assert_close(got, want)


def test_uniform_attention_has_zero_gradient_and_no_nan():
    query = torch.zeros(1, 2, 5, 3, requires_grad=True)
    key = torch.zeros(1, 2, 5, 3, requires_grad=True)
    sum(attention_diversification(Attention(query, key), mode=mode) for mode in MODES).backward()
    assert not query.grad.any() and not key.grad.any()


@pytest.mark.parametrize('mode', MODES)
def test_batch_is_the_mean_over_images(mode):
    query, key, _, _ = _view(4)
    together = attention_diversification(Attention(query, key), mode=mode)
    alone = [attention_diversification(Attention(query[i : i + 1], key[i : i + 1]), mode=mode) for i in range(4)]
    torch.testing.assert_close(together, torch.stack(alone).mean())
    assert all(value > 0 for value in alone)


@pytest.mark.parametrize('mode', MODES)
def test_float32_island_inside_autocast(mode):
    query, key, _, _ = _view()
    with torch.autocast('cpu', torch.bfloat16):
        rounded = Attention(query.detach().bfloat16().requires_grad_(), key.detach().bfloat16())
        loss = attention_diversification(rounded, mode=mode)
    assert loss.dtype == torch.float32
    exact = attention_diversification(Attention(query, key), mode=mode)
    torch.testing.assert_close(loss.double(), exact, rtol=3e-2, atol=0)


def _windows(mask=-math.inf, padding=True, batch=3, num_tokens=9):
    """A view of windows that a mask cuts into up to three regions, each in its own way, with padding in some."""
    torch.manual_seed(0)
    query, key = (torch.randn(batch, 2, num_tokens, 4, dtype=torch.float64) * 1.5 for _ in range(2))
    region = torch.randint(0, 3, (batch, num_tokens))
    region[0] = 0  # not cut
    key_regions = region.unsqueeze(1) == torch.arange(3).view(1, 3, 1)
    query_regions = key_regions.clone()
    if padding:
        query_regions[1:, :, -2:] = False
        query_regions[1, 1] = False  # a region of nothing but padding
    apart = region.unsqueeze(-1) != region.unsqueeze(-2)
    relative = torch.randn(2, num_tokens, num_tokens, dtype=torch.float64, requires_grad=True)
    bias = relative + torch.zeros(apart.shape, dtype=torch.float64).masked_fill(apart, mask).unsqueeze(1)
    return [query.requires_grad_(), key.requires_grad_()], relative, bias, (query_regions, key_regions)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('per_head', [False, True])
@pytest.mark.parametrize('mask', [-math.inf, -100.0])
@pytest.mark.parametrize('in_regions', ['no', 'yes', 'padded'])
def test_windows(mode, per_head, mask, in_regions):
    """Each window has a mask of its own; told of the regions or not, and of padding."""
    inputs, relative, bias, regions = _windows(mask, in_regions == 'padded')
    regions = (None, None) if in_regions == 'no' else regions
    options = dict(tau=1.2, mode=mode, per_head=per_head)
    ours = attention_diversification(Attention(*inputs, None, bias, *regions), **options, block_entries=50)
    probs = attention_probs(Attention(*inputs, None, bias))
    reference = attention_diversification_reference(probs, **options, query_regions=regions[0], key_regions=regions[1])
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=ROUNDING)
    assert 0.05 < ours < 1
    wanted = torch.autograd.grad(reference, (*inputs, relative), retain_graph=True)
    for got, want in zip(torch.autograd.grad(ours, (*inputs, relative)), wanted, strict=True):
        assert want.abs().max() > 1e-3
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-16 + 1e-10 * want.abs().max().item())


@pytest.mark.parametrize('mode', MODES)
def test_a_region_counts_as_a_window_of_its_own(mode):
    """The same tokens, cut apart by a mask or by hand."""
    query, key, _, _ = _view(1, 2, 9, 9)
    parts = [torch.tensor([0, 3, 4, 8]), torch.tensor([1, 2, 5, 6, 7])]
    regions = torch.zeros(1, 2, 9, dtype=torch.bool)
    for index, part in enumerate(parts):
        regions[0, index, part] = True
    together = (regions.unsqueeze(-1) & regions.unsqueeze(-2)).any(1)
    bias = torch.zeros(1, 1, 9, 9, dtype=torch.float64).masked_fill(~together, -math.inf)
    whole = attention_diversification(Attention(query, key, None, bias, regions, regions), mode=mode, tau=1.0)
    alone = [
        attention_diversification(Attention(query[:, :, part], key[:, :, part]), mode=mode, tau=1.0) for part in parts
    ]
    torch.testing.assert_close(whole, (4 * alone[0] + 5 * alone[1]) / 9)
    assert alone[0] > 0 and alone[1] > 0


@pytest.mark.parametrize('mode', MODES)
def test_uniform_attention_in_a_small_region_is_below_the_threshold(mode):
    """Its entries, 1/2, are above 2/9: told of the region, ADL is 0, not told it is not."""
    regions = torch.zeros(1, 2, 9, dtype=torch.bool)
    regions[:, 0, :2] = regions[:, 1, 2:] = True
    together = (regions.unsqueeze(-1) & regions.unsqueeze(-2)).any(1)
    bias = torch.zeros(1, 1, 9, 9).masked_fill(~together, -math.inf)
    zeros = torch.zeros(1, 2, 9, 4)
    assert attention_diversification(Attention(zeros, zeros, None, bias, regions, regions), mode=mode) == 0
    # two of nine rows keep something, but no column has that much on average, which is all that the official form sees
    assert (attention_diversification(Attention(zeros, zeros, None, bias), mode=mode) > 0) == (mode != 'official')


@pytest.mark.parametrize('mode', MODES)
def test_padding_takes_no_part(mode):
    """What queries of padding are changes neither the value nor a gradient."""
    inputs, _, bias, regions = _windows()
    (query, key), padding = inputs, ~regions[0].any(1)[:, None, :, None]
    other = torch.where(padding, 10 * torch.randn_like(query), query.detach()).requires_grad_()
    losses = [
        attention_diversification(Attention(q, key, None, bias.detach(), *regions), tau=1.0, mode=mode)
        for q in (query, other)
    ]
    assert losses[0] == losses[1] > 0
    grads = [torch.autograd.grad(loss, (q, key)) for loss, q in zip(losses, (query, other), strict=True)]
    for got, want in zip(grads[1], grads[0], strict=True):
        torch.testing.assert_close(got, want)
    assert not grads[0][0][padding.expand_as(query)].any()


@pytest.mark.parametrize('mode', MODES)
def test_nothing_but_padding(mode):
    inputs, _, bias, (query_regions, key_regions) = _windows()
    nothing = Attention(*inputs, None, bias, torch.zeros_like(query_regions), key_regions)
    loss = attention_diversification(nothing, mode=mode)
    assert loss == 0
    assert not any(grad.any() for grad in torch.autograd.grad(loss, inputs))


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('shape', [(2, 2, 0, 3), (0, 2, 4, 3)])
def test_no_row_at_all_is_zero(shape, mode):
    key = torch.ones(shape[0], 2, 1, 3)
    assert attention_diversification(Attention(torch.ones(shape), key), mode=mode) == 0


def test_regions_of_queries_and_keys_come_together():
    inputs, _, bias, regions = _windows()
    with pytest.raises(ValueError, match='must be given together'):
        attention_diversification(Attention(*inputs, None, bias, regions[0]))


@pytest.mark.gpu
def test_cuda_equals_cpu():
    query, key, _, _ = _view()
    torch.testing.assert_close(
        attention_diversification(Attention(query.cuda(), key.cuda())).cpu(),
        attention_diversification(Attention(query, key)),
    )


@pytest.mark.parametrize('mode', MODES)
def test_memory_does_not_hold_the_map(mode):
    """What is saved for backward is linear in N: the inputs, and two vectors over the keys."""
    saved = []
    query, key = (torch.randn(1, 2, 256, 4, requires_grad=True) for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()), lambda _: None):
        attention_diversification(Attention(query, key), mode=mode)
    assert sum(saved) < 8 * 2 * 256 * 4


@pytest.mark.parametrize('mode', MODES)
def test_compiled(mode):
    """In one graph, as the operator is for the compiler."""
    query, key, _, _ = _view()

    def loss(query, key):
        return attention_diversification(Attention(query, key), mode=mode)

    ours, expected = torch.compile(loss, backend='aot_eager', fullgraph=True)(query, key), loss(query, key)
    torch.testing.assert_close(ours, expected)
    for got, want in zip(*(torch.autograd.grad(one, (query, key)) for one in (ours, expected)), strict=True):
        torch.testing.assert_close(got, want)


def test_a_second_derivative_is_refused():
    query, key, _, _ = _view()
    with pytest.raises(RuntimeError, match='no second derivative'):
        torch.autograd.grad(attention_diversification(Attention(query, key)), query, create_graph=True)
