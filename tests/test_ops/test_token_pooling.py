import os
import shutil
import subprocess
import sys

import pytest
import torch

from mmrobust.ops import (
    dilated_windows,
    kernel_windows,
    token_pooling_pytorch,
    weighted_avg_pool,
    weighted_avg_pool_reference,
)
from mmrobust.ops.token_pooling_pytorch import FUSED, IN_BLOCKS


def _inputs(grid, num_branches, dtype=torch.float64):
    torch.manual_seed(0)
    x = torch.randn(2, *grid, 3, dtype=dtype, requires_grad=True)
    weights = torch.randn(2, *grid, num_branches, dtype=dtype).softmax(-1).requires_grad_()
    return x, weights


def test_windows():
    assert dilated_windows(3) == ((0,), (-1, 0, 1), (-2, 0, 2))
    assert kernel_windows(3) == ((0,), (-1, 0, 1), (-2, -1, 0, 1, 2))


@pytest.mark.parametrize('windows', [dilated_windows(1), dilated_windows(4), dilated_windows(6), kernel_windows(4)])
@pytest.mark.parametrize('grid', [(1, 1), (1, 7), (2, 3), (5, 4), (8, 3)])
@pytest.mark.parametrize('form', ['blocks', 'fused'])
def test_equals_reference_in_value_and_gradient(windows, grid, form, monkeypatch):
    if form == 'blocks':
        monkeypatch.setattr(token_pooling_pytorch, '_BLOCK_ENTRIES', 1)
        monkeypatch.setattr(token_pooling_pytorch, '_MIN_CHANNELS', 2)  # of 3
    else:  # as if torch.compile were at work
        monkeypatch.setattr('mmrobust.ops.token_pooling._form', lambda: FUSED)
    x, weights = _inputs(grid, len(windows))
    grad_out = torch.randn_like(x)
    results = []
    for function in (weighted_avg_pool, weighted_avg_pool_reference):
        out = function(x, weights, windows)
        results.append((out, *torch.autograd.grad(out, (x, weights), grad_out)))
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-14)


def test_reference_is_unfold_per_dilation():
    """The reference itself against torch's own im2col, which is how the released code gathers neighbours."""
    x, weights = _inputs((5, 6), 4)
    planes = x.permute(0, 3, 1, 2)
    branches = [planes]
    for dilation in (1, 2, 3):
        columns = torch.nn.functional.unfold(planes, 3, dilation=dilation, padding=dilation)
        branches.append(columns.view(2, 3, 9, 5, 6).mean(2))
    expected = sum(branch * weights[..., k].unsqueeze(1) for k, branch in enumerate(branches)).permute(0, 2, 3, 1)
    torch.testing.assert_close(weighted_avg_pool_reference(x, weights, dilated_windows(4)), expected)


def test_gradcheck():
    x, weights = _inputs((4, 3), 4)
    assert torch.autograd.gradcheck(lambda x, w: weighted_avg_pool(x, w, dilated_windows(4)), (x, weights))


@pytest.mark.parametrize('form', [FUSED, IN_BLOCKS], ids=['fused', 'in blocks'])
def test_low_precision_is_summed_in_float32(form):
    """With rounding at the end only: as exact as bfloat16 can be."""
    x, weights = _inputs((6, 6), 4, torch.float32)
    x, weights, windows = x.detach().bfloat16(), weights.detach(), dilated_windows(4)
    shares = [share / len(window) ** 2 for share, window in zip(weights.split(1, -1), windows, strict=True)]
    expected = weighted_avg_pool_reference(x.float(), weights, windows)
    assert torch.equal(form.pool(x, shares, windows, x.dtype), expected.bfloat16())


def test_keeps_dtype_of_tokens():
    x, weights = _inputs((4, 4), 3, torch.float32)
    assert weighted_avg_pool(x.bfloat16(), weights, dilated_windows(3)).dtype == torch.bfloat16


@pytest.mark.parametrize('form', [FUSED, IN_BLOCKS], ids=['fused', 'in blocks'])
def test_another_dtype_for_the_result(form, monkeypatch):
    """Gradients come back in the dtypes of tokens and weights."""
    monkeypatch.setattr('mmrobust.ops.token_pooling._form', lambda: form)
    x, weights = _inputs((4, 5), 3, torch.float32)
    out = weighted_avg_pool(x, weights, dilated_windows(3), torch.bfloat16)
    expected = weighted_avg_pool_reference(x, weights, dilated_windows(3))
    assert torch.equal(out, expected.bfloat16())
    grad_out = torch.randn_like(out)
    grads = torch.autograd.grad(out, (x, weights), grad_out)
    for grad, wanted in zip(grads, torch.autograd.grad(expected, (x, weights), grad_out.float()), strict=True):
        assert grad.dtype == torch.float32
        torch.testing.assert_close(grad, wanted)


COMPILED = """
import torch
from mmrobust.models.layers import TokenAwareAvgPool

torch.manual_seed(0)
layer = TokenAwareAvgPool(32)
grads = []
for function in (layer, torch.compile(layer)):
    x = torch.linspace(-1, 1, 2 * 24 * 32).view(2, 24, 32).requires_grad_()
    function(x, (4, 6)).sin().square().mean().backward()
    grads.append(x.grad)
torch.testing.assert_close(grads[0], grads[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='inductor needs a C++ compiler')
def test_compiled_by_inductor():
    """In a process of its own: what inductor made of a concatenation here wrote out of bounds."""
    env = os.environ | {'MALLOC_CHECK_': '3'}
    result = subprocess.run([sys.executable, '-c', COMPILED], env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
