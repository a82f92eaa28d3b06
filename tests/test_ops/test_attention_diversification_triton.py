"""The kernels behind ADL against the plain formula, in Triton's interpreter: on a CPU, and in a process of its own."""

import pytest
import torch

from mmrobust.ops import (
    ADL_MODES,
    Attention,
    attention_diversification,
    attention_diversification_reference,
    attention_probs,
    diversified_attention,
    kernels,
)

pytest.importorskip('triton')


@pytest.fixture(scope='module')
def interpreter(interpreter):
    interpreter(_interpret_small_tiles)
    return interpreter


def _interpret_small_tiles():
    """Take the kernels on a CPU, with tiles of 16 tokens, which tensor cores take at least, and maps two at a time.

    The interpreter of Triton 3.8 multiplies the bits of bfloat16 as if they were integers: mended here.
    """
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder

    from mmrobust.ops import attention_diversification_kernels, attention_diversification_triton

    create_dot = InterpreterBuilder.create_dot

    def create_dot_in_float32(self, *factors_and_others):
        factors = [
            self.cast_impl(factor, tl.float32) if factor.dtype.scalar == tl.bfloat16 else factor
            for factor in factors_and_others[:2]
        ]
        return create_dot(self, *factors, *factors_and_others[2:])

    InterpreterBuilder.create_dot = create_dot_in_float32
    small = attention_diversification_triton._Tile(16, 16, 1, 1)
    attention_diversification_triton._TILES = dict.fromkeys(attention_diversification_triton._TILES, (small, small))
    attention_diversification_triton._COLUMN_SUMS = attention_diversification_triton._GRAD_MAPS = small
    attention_diversification_triton._LOSSES = small
    attention_diversification_triton._BYTES_OF_MAPS = 2 * 4 * 20 * 32
    attention_diversification_kernels.kernels.fit = lambda *tensors: True
    attention_diversification_kernels._fused_attention = lambda *which: ''


def _view(batch=1, heads=2, num_queries=20, num_keys=20, dim=5):
    """Attention sharp enough, and drawn enough to one key, to be seen by all modes; queries that lie apart."""
    torch.manual_seed(batch + heads + num_queries)
    query = torch.randn(batch, num_queries, heads, dim).transpose(1, 2) * 2
    key = torch.randn(batch, heads, num_keys, dim)
    query[..., 0] += 3
    key[:, :, 0, 0] += 3
    return query, key * 0.5


def _assert_equals_reference(query, key, tau, mode, per_head, tolerance):
    """Value and gradients, and the attention output beside them."""
    inputs = query, key, torch.randn_like(key)
    query, key, value = (tensor.detach().requires_grad_() for tensor in inputs)
    options = dict(tau=tau, mode=mode, per_head=per_head)
    loss = attention_diversification(Attention(query, key), **options)
    got = torch.autograd.grad(loss, (query, key))
    out, with_output = diversified_attention(Attention(query, key), value, **options)
    got_with_output = torch.autograd.grad(30 * with_output + out.float().mean(), (query, key))
    assert kernels.failure() is None

    wide, value = [tensor.detach().double().requires_grad_() for tensor in (query, key)], value.double()
    probs = attention_probs(Attention(*wide))
    expected = attention_diversification_reference(probs, **options)
    wanted = torch.autograd.grad(expected, wide, retain_graph=True)
    wanted_with_output = torch.autograd.grad(30 * expected + (probs @ value).mean(), wide)
    assert (0.005 if mode == 'pairwise' else 0.05) < expected < 1
    for value in (loss, with_output):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=0)
    for grads, correct in ((got, wanted), (got_with_output, wanted_with_output)):
        for grad, want in zip(grads, correct, strict=True):
            assert grad.dtype == query.dtype
            torch.testing.assert_close(grad.double(), want, rtol=0, atol=tolerance * want.abs().max().item())


@pytest.mark.parametrize('mode', ADL_MODES)
@pytest.mark.parametrize('per_head', [False, True])
@pytest.mark.parametrize(
    'sizes',
    [
        dict(batch=5, heads=3, num_queries=7, num_keys=7),
        dict(heads=1, num_queries=16, num_keys=16, dim=16),
        dict(num_queries=5, num_keys=35, dim=56),
        dict(num_queries=37, num_keys=20),
    ],
)
def test_equals_reference_in_value_and_gradient(interpreter, sizes, mode, per_head):
    interpreter(_assert_equals_reference, *_view(**sizes), 1.5, mode, per_head, 3e-5)


def test_channels_that_do_not_lie_side_by_side(interpreter):
    """The gradients come in the memory layout of query and key, whatever the kernels write."""
    query, key = (tensor.transpose(-2, -1).contiguous().transpose(-2, -1) for tensor in _view())
    assert query.stride(-1) != 1
    interpreter(_assert_equals_reference, query, key, 1.5, 'paper', False, 3e-5)


@pytest.mark.parametrize('mode', ADL_MODES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision(interpreter, dtype, mode):
    """Products are of rounded numbers, so gradients are as exact as these; in float16 they do not vanish."""
    query, key = (tensor.to(dtype) for tensor in _view(dim=24))
    interpreter(_assert_equals_reference, query, key, 1.5, mode, False, 2e-2)


def _loss_and_gradients(query, key, mode):
    query, key = (tensor.requires_grad_() for tensor in (query, key))
    loss = attention_diversification(Attention(query, key), mode=mode)
    assert kernels.failure() is None
    return loss.detach(), *torch.autograd.grad(loss, (query, key))


def _compiled_and_eager(query, key, mode):
    """Loss and gradients, by way of the output too, under the compiler and without; and the loss without gradient."""
    leaves = [tensor.requires_grad_() for tensor in (query, key, torch.ones_like(key))]

    def loss(query, key, value):
        out, term = diversified_attention(Attention(query * 1.0, key), value, mode=mode)
        return out.square().mean() + 3 * term

    results = []
    for function in (torch.compile(loss, backend='aot_eager', fullgraph=True), loss):
        found = function(*leaves)
        results.append([found.detach(), *torch.autograd.grad(found, leaves)])
    with torch.no_grad():
        results.append(attention_diversification(Attention(*leaves[:2]), mode=mode))
    assert kernels.failure() is None
    return *results, attention_diversification(Attention(*leaves[:2]), mode=mode).detach()


@pytest.mark.parametrize('mode', ADL_MODES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_under_the_compiler_and_without_gradient(interpreter, mode, dtype):
    compiled, eager, without_gradient, with_gradient = interpreter(
        _compiled_and_eager, *(tensor.to(dtype) for tensor in _view(2, 2, 20, 20, 8)), mode
    )
    torch.testing.assert_close(compiled, eager)
    assert torch.equal(without_gradient, with_gradient)


def _checkpointed_and_plain(query, key, value):
    """Loss and gradients of a layer that is run twice, and of one that is not; and how often gradients were made."""
    from mmrobust.models.layers import recompute
    from mmrobust.ops import attention_diversification_triton

    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
    made = []
    make = attention_diversification_triton._gradients
    attention_diversification_triton._gradients = lambda *args: made.append(1) or make(*args)

    def layer(query, key, value):
        out, term = diversified_attention(Attention(query * 1.0, key * 1.0), value)
        return out.square().mean() + 3 * term

    results = []
    for run in (lambda *args: recompute(layer, *args), layer):
        made.clear()
        loss = run(*leaves)
        before = len(made)
        results.append([loss.detach(), *torch.autograd.grad(loss, leaves), torch.tensor([before, len(made)])])
    attention_diversification_triton._gradients = make
    return results


def test_checkpointing_makes_the_gradients_once(interpreter):
    checkpointed, plain = interpreter(_checkpointed_and_plain, *_view(), torch.ones(1, 2, 20, 5))
    torch.testing.assert_close(checkpointed[:-1], plain[:-1], rtol=0, atol=0)
    assert checkpointed[-1].tolist() == [0, 1] and plain[-1].tolist() == [1, 1]


def _kept_of_the_first_run(query, key):
    from mmrobust.ops import gradients_made

    kept = []
    with gradients_made(False), torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        attention_diversification(Attention(query.requires_grad_(), key.requires_grad_()))
    return [tensor.detach() for tensor in kept]


def test_what_the_first_run_keeps_cannot_pass_for_gradients(interpreter):
    query, key = _view()
    kept = interpreter(_kept_of_the_first_run, query, key)
    assert [tensor.shape for tensor in kept] == [query.shape, key.shape]
    assert all(tensor.isnan().all() for tensor in kept)


def _second_derivative():
    query, key = (tensor.requires_grad_() for tensor in _view())
    torch.autograd.grad(attention_diversification(Attention(query, key)), query, create_graph=True)


def test_second_derivative_is_refused(interpreter):
    with pytest.raises(RuntimeError, match='no second derivative'):
        interpreter(_second_derivative)


@pytest.mark.parametrize('mode', ADL_MODES)
def test_below_the_threshold_is_exactly_zero(interpreter, mode):
    query, key = (tensor * 1e-3 for tensor in _view())
    assert not any(result.any() for result in interpreter(_loss_and_gradients, query, key, mode))


def test_very_low_scores_stay_finite(interpreter):
    """The tile's last columns lie outside the map, where a score of 0 would be far above all others."""
    query, key = torch.full((1, 1, 5, 4), 20.0), torch.full((1, 1, 5, 4), -20.0)
    key[:, :, 0] *= 0.99
    results = interpreter(_loss_and_gradients, query, key, 'paper')
    assert results[0].item() == pytest.approx(1)
    assert all(result.isfinite().all() for result in results)


def _failing_kernels():
    from mmrobust.ops import attention_diversification_triton

    def fail(*args):
        raise ValueError('one line\nno compiler here')

    attention_diversification_triton.diversification = attention_diversification_triton.log_sum_exp = fail
    with pytest.warns(RuntimeWarning, match=r'do not run here, .* \(ValueError: no compiler here\)'):
        first = attention_diversification(Attention(*_view()))
    second = attention_diversification(Attention(*_view()))  # without another warning
    return first, second, kernels.failure()


@pytest.mark.filterwarnings('error')
def test_where_kernels_fail_blocks_take_over_with_one_warning():
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        pool.submit(_interpret_small_tiles).result()
        first, second, failure = pool.submit(_failing_kernels).result()
    assert failure == 'ValueError: no compiler here'
    torch.testing.assert_close(first, attention_diversification(Attention(*_view())))
    assert torch.equal(first, second)


def test_errors_that_no_other_code_survives_are_raised():
    def out_of_memory():
        raise torch.OutOfMemoryError('no memory')

    with pytest.raises(torch.OutOfMemoryError):
        kernels.run_or(out_of_memory, lambda: None)
    assert kernels.failure() is None


def test_which_attention_is_for_the_kernels():
    from mmrobust.ops.attention_diversification_kernels import fit

    cuda = torch.device('cuda') if torch.cuda.is_available() else None
    if cuda is None:
        assert not kernels.fit(torch.ones(1))
        pytest.skip('needs a GPU')
    query, key = (tensor.to(cuda) for tensor in _view())
    assert fit(Attention(query, key))
    assert not fit(Attention(query, key, torch.ones(20, 20)))
    assert not fit(Attention(query, key, None, torch.ones(20, 20)))
    assert not fit(Attention(query, key, None, None, *(torch.ones(1, 1, 20, dtype=torch.bool),) * 2))
    assert not fit(Attention(query.double(), key.double()))
    assert not fit(Attention(query, key.bfloat16()))
    assert not fit(Attention(*(torch.ones(1, 2, 20, 129, device=cuda),) * 2))
    assert not fit(Attention(query[:0], key[:0]))


@pytest.mark.parametrize(
    ('num_tokens', 'dim', 'dtype', 'mode', 'per_head'),
    # Triton compiles once more for arguments that are 1
    [
        (4096, 56, torch.bfloat16, 'paper', False),
        pytest.param(196, 64, torch.float16, 'official', False, marks=pytest.mark.slow),
        pytest.param(64, 128, torch.bfloat16, 'pairwise', False, marks=pytest.mark.slow),
        (1, 5, torch.float32, 'official', True),
    ],
)
def test_compiles(compiled, num_tokens, dim, dtype, mode, per_head):
    """Into the shared memory of the smallest of these GPUs' kin."""
    from mmrobust.ops import attention_diversification_kernels, attention_diversification_triton

    query, key = (tensor.to(dtype).to('meta') for tensor in _view(2, 2, num_tokens, num_tokens, dim))
    lse = attention_diversification_triton.log_sum_exp(query, key)
    attention_diversification_kernels._attention_diversification._init_fn(query, key, lse, 0.1, mode, per_head, 'made')
    names, found = zip(*compiled, strict=True)
    kernels_of_adl = {'_log_sum_exp', '_mean_maps', '_column_sums', '_losses', '_grad_maps', '_grad_query', '_grad_key'}
    assert {*names} == kernels_of_adl
    assert all(kernel.asm['cubin'] and kernel.metadata.shared <= 99 * 1024 for kernel in found)


@pytest.mark.gpu
@pytest.mark.parametrize(  # all forms in all dtypes: `gpu_check.py --parts equality`
    ('dtype', 'tolerance', 'mode', 'per_head'),
    [
        (torch.bfloat16, 2e-2, 'paper', False),
        (torch.float16, 2e-2, 'pairwise', False),
        (torch.float32, 1e-4, 'official', True),
    ],
)
def test_on_gpu(dtype, tolerance, mode, per_head):
    query, key = (tensor.cuda().to(dtype) for tensor in _view(2, 8, 300, 300, 56))
    _assert_equals_reference(query, key, 1.5, mode, per_head, tolerance)
