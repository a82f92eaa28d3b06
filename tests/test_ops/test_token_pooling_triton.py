"""The kernels against the plain formula, in Triton's interpreter: on a CPU, and in a process of its own."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from mmrobust.ops import (
    dilated_windows,
    kernel_windows,
    kernels,
    weighted_avg_pool,
    weighted_avg_pool_reference,
)

pytest.importorskip('triton')


def _assert_equals_reference(shape, windows, dtype, device, tile=None, dtype_of_tokens=None):
    from mmrobust.ops import token_pooling_triton

    for name, value in (tile or {}).items():
        setattr(token_pooling_triton, name, value)
    torch.manual_seed(0)
    x, grad_out = torch.randn(2, *shape, device=device).to(dtype)
    x = x.to(dtype_of_tokens or dtype)
    weights = torch.randn(*shape[:3], len(windows), device=device).softmax(-1)
    if tile is None:  # as an operator
        leaves = x.requires_grad_(), weights.requires_grad_()
        out = weighted_avg_pool(*leaves, windows, dtype)
        grad_x, grad_weights = torch.autograd.grad(out, leaves, grad_out)
        assert kernels.failure() is None
    else:
        out = token_pooling_triton.pool(x, weights, windows, dtype)
        grad_x, grad_weights = token_pooling_triton.pool_backward(grad_out, x, weights, windows)

    dtype_of_x = x.dtype
    x, weights = (tensor.detach().double().requires_grad_() for tensor in (x, weights))
    expected = weighted_avg_pool_reference(x, weights, windows)
    expected_grads = torch.autograd.grad(expected, (x, weights), grad_out.double())
    # sums are float32: what is written in another dtype is rounded once
    rounded = dict(rtol=max(1e-5, torch.finfo(dtype).eps), atol=1e-6)
    assert out.dtype == dtype and grad_x.dtype == dtype_of_x
    torch.testing.assert_close(out.double(), expected, **rounded)
    torch.testing.assert_close(grad_x.double(), expected_grads[0], **rounded)
    torch.testing.assert_close(grad_weights.double(), expected_grads[1], rtol=1e-5, atol=1e-5)


def _operator_by_kernels():
    """Value and gradients of the operator where the kernels are taken, and where they cannot be compiled."""
    from mmrobust.ops import token_pooling, token_pooling_triton

    token_pooling.kernels.fit = lambda *tensors: True
    x, weights = torch.randn(2, 3, 4, 5, requires_grad=True), torch.rand(2, 3, 4, 2, requires_grad=True)

    def run():
        out = weighted_avg_pool(x, weights, dilated_windows(2))
        return [one.detach() for one in (out, *torch.autograd.grad(out.square().sum(), (x, weights)))]

    by_kernels = run()
    assert kernels.failure() is None
    del token_pooling_triton.pool
    with pytest.warns(RuntimeWarning, match='do not run here'):
        in_pytorch = run()
    assert 'pool' in kernels.failure()
    return by_kernels, in_pytorch


def test_operator_with_and_without_kernels():
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv('TRITON_INTERPRET', '1')
            pool.submit(int).result()  # starts the process
        torch.testing.assert_close(*pool.submit(_operator_by_kernels).result())


@pytest.mark.parametrize(
    ('shape', 'windows'),
    [
        ((2, 3, 5, 9), dilated_windows(1)),
        ((2, 3, 2, 9), dilated_windows(2)),
        ((1, 3, 1, 5), dilated_windows(3)),
        ((1, 2, 5, 8), dilated_windows(4)),
        ((1, 2, 4, 3), kernel_windows(3)),
        ((1, 3, 4, 3), ((-1, 0, 1),)),
        ((1, 1, 1, 1), ((-3, 0, 3),)),
        ((0, 3, 4, 3), dilated_windows(2)),
    ],
)
def test_equals_reference_in_value_and_gradient(interpreter, shape, windows):
    # tiles of 2 rows x 4 tokens x 8 channels
    tile = dict(_ROWS=2, _TOKENS=4, _CHANNEL_BYTES=32)
    interpreter(_assert_equals_reference, shape, windows, torch.float32, 'cpu', tile)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_is_summed_in_float32(interpreter, dtype):
    tile = dict(_ROWS=2, _TOKENS=4, _CHANNEL_BYTES=32)
    interpreter(_assert_equals_reference, (1, 3, 4, 5), dilated_windows(2), dtype, 'cpu', tile)


def test_result_in_another_dtype_than_tokens(interpreter):
    """As under autocast."""
    tile = dict(_ROWS=2, _TOKENS=4, _CHANNEL_BYTES=32)
    arguments = ((1, 3, 4, 19), dilated_windows(2), torch.bfloat16, 'cpu', tile, torch.float32)
    interpreter(_assert_equals_reference, *arguments)


def test_compiles_and_reads_every_neighbour_once(compiled):
    from mmrobust.ops import token_pooling_triton

    windows, rows = dilated_windows(3), token_pooling_triton._ROWS
    x, weights = torch.empty(2, 32, 32, 448, dtype=torch.bfloat16), torch.empty(2, 32, 32, 3)
    token_pooling_triton.pool(x, weights, windows, x.dtype)
    token_pooling_triton.pool_backward(x, x, weights, windows)
    neighbours = {(y + dy, dx) for y in range(rows) for window in windows for dy in window for dx in window}
    their_weights = {(y + dy, dx, w) for y in range(rows) for w in windows for dy in w for dx in w}
    others = [('_pool', rows * len(windows)), ('_pool', len(their_weights)), ('_grad_weights', rows)]
    for (name, kernel), (expected_name, num_others) in zip(compiled, others, strict=True):
        assert name == expected_name
        assert kernel.asm['cubin']
        assert kernel.asm['ptx'].count('ld.global') == len(neighbours) + num_others


def test_compiles_where_sizes_are_one(compiled):
    """Triton compiles once more for arguments that are 1."""
    from mmrobust.ops import token_pooling_triton

    x, weights = torch.empty(1, 1, 1, 1), torch.empty(1, 1, 1, 2)
    token_pooling_triton.pool(x, weights, dilated_windows(2), x.dtype)
    token_pooling_triton.pool_backward(x, x, weights, dilated_windows(2))
    assert all(kernel.asm['cubin'] for _, kernel in compiled)
    assert len(compiled) == 3


@pytest.mark.gpu
@pytest.mark.parametrize(
    ('dtype', 'windows'),
    [
        (torch.bfloat16, dilated_windows(4)),
        (torch.float32, dilated_windows(4)),
        (torch.float16, kernel_windows(3)),
    ],
)
def test_on_gpu(dtype, windows):
    _assert_equals_reference((2, 13, 17, 200), windows, dtype, 'cuda')
