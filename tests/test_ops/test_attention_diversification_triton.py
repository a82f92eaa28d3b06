"""The kernels against the plain formula, in Triton's interpreter: on a CPU, and in a process of its own."""

import pytest
import torch
import torch.nn.functional as F

from mmrobust.ops import attention_diversification_reference, attention_probs
from mmrobust.ops.attention_diversification_blocks import Attention

pytest.importorskip('triton')

MODES = ('paper', 'official')
# Blocks of 16 tokens, which tensor cores take at least, of queries and of keys; loops in two parts.
SMALL = dict(_BLOCKS={2: (16, 16), 4: (16, 16)}, _MIN_PROGRAMS=4)


@pytest.fixture(scope='module')
def interpreter(interpreter):
    interpreter(_multiply_bfloat16)
    return interpreter


def _multiply_bfloat16():
    """The interpreter of Triton 3.8 multiplies the bits of bfloat16 as if they were integers."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder

    create_dot = InterpreterBuilder.create_dot

    def create_dot_in_float32(self, *factors_and_others):
        factors = [
            self.cast_impl(factor, tl.float32) if factor.dtype.scalar == tl.bfloat16 else factor
            for factor in factors_and_others[:2]
        ]
        return create_dot(self, *factors, *factors_and_others[2:])

    InterpreterBuilder.create_dot = create_dot_in_float32


def _view(batch=1, heads=2, num_queries=20, num_keys=20, dim=5):
    """Attention sharp enough, and drawn enough to one key, to be seen by both modes; queries that lie apart."""
    torch.manual_seed(batch + heads + num_queries)
    query = torch.randn(batch, num_queries, heads, dim).transpose(1, 2) * 2
    key = torch.randn(batch, heads, num_keys, dim)
    query[..., 0] += 3
    key[:, :, 0, 0] += 3
    return query, key * 0.5


def _loss_and_gradients(query, key, tau, mode, per_head):
    """What surrounds the sweeps, for a single region: the middle by autograd."""
    from mmrobust.ops import attention_diversification_triton

    num_queries, num_keys = query.size(-2), key.size(-2)
    threshold = tau / num_keys
    thresholds = torch.full((1, 1, num_queries, 1), threshold, device=query.device)
    attention = Attention(query, key, None, None, thresholds, mode, per_head, None)
    assert attention_diversification_triton.supports(attention)
    _, *sums, lse, inv_norms = attention_diversification_triton.forward_sweep(attention, None)
    row_sum, direction_sum = (total.requires_grad_() for total in sums)
    mean = row_sum / num_queries
    if mode == 'official':
        mean = mean * (mean > threshold)
    scale = 1 / (num_queries * mean.size(0) * mean.size(1))
    loss = (direction_sum * F.normalize(mean, dim=-1)).sum() * scale
    grad_row, grad_direction = torch.autograd.grad(loss, (row_sum, direction_sum))
    scale = torch.tensor(scale, device=query.device)
    grads = attention_diversification_triton.backward_sweep(
        attention, None, None, grad_direction / scale, grad_row, scale, lse, inv_norms
    )
    return loss.detach(), grads.query, grads.key


def _assert_equals_reference(query, key, tau, mode, per_head, tolerance, settings=None):
    from mmrobust.ops import attention_diversification_triton

    for name, value in (settings or {}).items():
        setattr(attention_diversification_triton, name, value)
    loss, *grads = _loss_and_gradients(query, key, tau, mode, per_head)
    inputs = [tensor.double().requires_grad_() for tensor in (query, key)]
    expected = attention_diversification_reference(attention_probs(*inputs), tau, mode, per_head)
    assert expected > 0
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-5, atol=0)
    for got, want, tensor in zip(grads, torch.autograd.grad(expected, inputs), (query, key), strict=True):
        assert got.dtype == tensor.dtype
        torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance * want.abs().max().item())


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('per_head', [False, True])
@pytest.mark.parametrize(
    'sizes',
    [
        dict(batch=2, heads=3, num_queries=7, num_keys=7),
        dict(heads=1, num_queries=16, num_keys=16, dim=16),
        dict(num_queries=5, num_keys=35, dim=56),
        dict(num_queries=33, num_keys=20),
    ],
)
def test_equals_reference_in_value_and_gradient(interpreter, sizes, mode, per_head):
    interpreter(_assert_equals_reference, *_view(**sizes), 1.5, mode, per_head, 2e-5, SMALL)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_low_precision(interpreter, dtype, tolerance, mode):
    """Products are of rounded numbers, so gradients are as exact as these; in float16 they do not vanish."""
    query, key = (tensor.to(dtype) for tensor in _view(dim=24))
    interpreter(_assert_equals_reference, query, key, 1.5, mode, False, tolerance, SMALL)


def _small_loss_and_gradients(*args):
    from mmrobust.ops import attention_diversification_triton

    for name, value in SMALL.items():
        setattr(attention_diversification_triton, name, value)
    return _loss_and_gradients(*args)


@pytest.mark.parametrize('mode', MODES)
def test_below_the_threshold_is_exactly_zero(interpreter, mode):
    query, key = (tensor * 1e-3 for tensor in _view())
    assert not any(result.any() for result in interpreter(_small_loss_and_gradients, query, key, 2.0, mode, False))


def test_very_low_scores_stay_finite(interpreter):
    """The tile's last columns lie outside the map, where a score of 0 would be far above all others."""
    query, key = torch.full((1, 1, 5, 4), 20.0), torch.full((1, 1, 5, 4), -20.0)
    key[:, :, 0] *= 0.99
    results = interpreter(_small_loss_and_gradients, query, key, 2.0, 'paper', False)
    assert results[0].item() == pytest.approx(1)
    assert all(result.isfinite().all() for result in results)


def _rows_of_padding(padding):
    from mmrobust.ops import attention_diversification_triton

    for name, value in SMALL.items():
        setattr(attention_diversification_triton, name, value)
    query, key = _view()
    results = []
    for rows in (slice(None), ~padding):
        thresholds = torch.full((1, 1, 20, 1), 1.5 / 20).masked_fill(padding[:, None], torch.inf)[:, :, rows]
        attention = Attention(query[:, :, rows], key, None, None, thresholds, 'official', False, None)
        sums = attention_diversification_triton.forward_sweep(attention, None)
        unit, grad_row = torch.rand(2, 1, 1, 20, generator=torch.Generator().manual_seed(0))
        grads = attention_diversification_triton.backward_sweep(
            attention, None, None, unit, grad_row, torch.tensor(0.5), *sums[3:]
        )
        results.append((*sums[1:3], grads.key))
    return results


def test_rows_that_take_no_part_are_not_counted(interpreter):
    padding = torch.arange(20) % 3 == 0
    for got, want in zip(*interpreter(_rows_of_padding, padding), strict=True):
        torch.testing.assert_close(got, want)


def test_what_is_supported():
    from mmrobust.ops.attention_diversification_triton import supports

    query, key = _view()
    attention = Attention(query, key, None, None, torch.ones(1, 1, 20, 1), 'paper', False, None)
    assert supports(attention)
    assert not supports(attention._replace(gate=torch.ones(20, 20)))
    assert not supports(attention._replace(bias=torch.ones(20, 20)))
    assert not supports(attention._replace(query=query.double(), key=key.double()))
    assert not supports(attention._replace(query=query.bfloat16()))
    assert not supports(attention._replace(query=torch.ones(1, 2, 20, 65), key=torch.ones(1, 2, 20, 65)))
    assert not supports(attention._replace(query=query[:0], key=key[:0]))


@pytest.mark.parametrize(
    ('num_tokens', 'dtype', 'mode', 'per_head'),
    # Triton compiles once more for arguments that are 1
    [(64, torch.bfloat16, 'paper', False), (1, torch.float32, 'official', True)],
)
def test_compiles(compiled, num_tokens, dtype, mode, per_head):
    """Into the shared memory of the smallest of these GPUs' kin."""
    from mmrobust.ops import attention_diversification_triton

    query, key = (tensor.to(dtype) for tensor in _view(2, 8, num_tokens, num_tokens, 56))
    attention = Attention(query, key, None, None, torch.ones(1, 1, num_tokens, 1), mode, per_head, None)
    _, *sums, lse, inv_norms = attention_diversification_triton.forward_sweep(attention)
    attention_diversification_triton.backward_sweep(attention, None, None, *sums, torch.tensor(1.0), lse, inv_norms)
    names, kernels = zip(*compiled, strict=True)
    assert names == ('_log_sum_exp', '_square_norms', '_column_sums', '_row_sums', '_gradient', '_gradient')
    assert all(kernel.asm['cubin'] and kernel.metadata.shared <= 99 * 1024 for kernel in kernels)


@pytest.mark.gpu
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('per_head', [False, True])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_on_gpu(dtype, tolerance, per_head, mode):
    query, key = (tensor.cuda().to(dtype) for tensor in _view(2, 8, 300, 300, 56))
    _assert_equals_reference(query, key, 1.5, mode, per_head, tolerance)
