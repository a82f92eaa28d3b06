"""Forward and backward of TAP's pooling and of attention with ADL, in each of their forms."""

# B batch, H W token grid or H heads, N tokens, C channels, D channels per head, K branches

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from mmengine.device import get_device
from torch import Tensor

from mmrobust.models.layers import AttentionView, attend
from mmrobust.models.losses import AttentionDiversificationLoss
from mmrobust.ops import ADL_MODES, Attention, dilated_windows, weighted_avg_pool
from performance.measure import Measurement, device_seconds, measure
from performance.released_form import full_map_attend, unfold_pool

TAP_FORMS = ('copy', 'released', 'ours', 'ours compiled')
ADL_FORMS = ('attention alone', 'released', 'ours')


def tap(
    form: str,
    shape: tuple[int, int, int, int],
    num_branches: int,
    repeats: int,
    dtype: torch.dtype = torch.float32,
) -> Measurement:
    """Weigh and pool ``shape`` = (B, C, H, W), gradients of tokens and weights included; or copy the tokens once.

    Each form gets the tokens in the memory layout that it wants.
    """
    batch, channels, height, width = shape
    options = dict(device=get_device(), dtype=dtype)

    def inputs() -> tuple[Tensor, ...]:
        if form == 'released':
            x, grad = (torch.randn(shape, **options).permute(0, 2, 3, 1) for _ in range(2))
        else:
            x, grad = (torch.randn(batch, height, width, channels, **options) for _ in range(2))
        return x, torch.randn(batch, height, width, num_branches, **options).softmax(-1), grad

    if form == 'copy':
        return _measured(lambda x, weights, grad: x.clone(), inputs, repeats, warmup=2)
    pool = {'released': unfold_pool, 'ours': weighted_avg_pool, 'ours compiled': torch.compile(weighted_avg_pool)}[form]
    windows = dilated_windows(num_branches)

    def function(x: Tensor, weights: Tensor, grad: Tensor) -> None:
        _gradients(lambda x, weights: pool(x, weights, windows), (x, weights), grad)

    return _measured(function, inputs, repeats, warmup=2)


def adl(
    form: str,
    heads: int,
    head_dims: int,
    num_tokens: int,
    repeats: int,
    dtype: torch.dtype = torch.float32,
    batch: int = 1,
    **options: Any,
) -> Measurement:
    """One layer's attention of ``batch`` images, its output included, with ADL or alone; and all gradients.

    Further options are those of :class:`mmrobust.models.AttentionDiversificationLoss`.
    """
    return _measured(*_attention_case(form, heads, head_dims, num_tokens, dtype, batch, **options), repeats)


def adl_modes(
    num_tokens: int, rounds: int, dtype: torch.dtype = torch.float32, heads: int = 8, head_dims: int = 56
) -> dict[str, Measurement]:
    """Attention alone, and with each of ADL's forms, in turn in this process: small differences need one memory.

    Seconds are those of the process on a CPU, which are its own on a machine that others use, and of the kernels on a
    GPU. Memory is not measured.
    """
    cases = {'attention alone': _attention_case('attention alone', heads, head_dims, num_tokens, dtype, 1)}
    cases |= {mode: _attention_case('ours', heads, head_dims, num_tokens, dtype, 1, mode=mode) for mode in ADL_MODES}
    torch.manual_seed(0)
    tensors = cases['attention alone'][1]()
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, (function, _) in cases.items():
            if torch.cuda.is_available():
                took = device_seconds(lambda function=function: function(*tensors), 1)
            else:
                start = time.process_time()
                function(*tensors)
                took = time.process_time() - start
            if number:  # the first is a warm-up
                found[name].append(took)
    return {name: Measurement(statistics.median(seconds), seconds, None) for name, seconds in found.items()}


def _attention_case(
    form: str, heads: int, head_dims: int, num_tokens: int, dtype: torch.dtype, batch: int, **options: Any
) -> tuple[Callable[..., None], Callable[[], tuple[Tensor, ...]]]:
    """A function of drawn tensors, and what draws them."""
    shape = (batch, heads, num_tokens, head_dims)
    observe = None if form == 'attention alone' else AttentionDiversificationLoss(**options).layer_term
    form_of_attention = full_map_attend if form == 'released' else attend

    def inputs() -> tuple[Tensor, ...]:
        query, key, value, grad = (torch.randn(shape, device=get_device(), dtype=dtype) for _ in range(4))
        query *= 0.5  # attention sharp enough for entries above the threshold, and flat enough for some below
        return query, key, value, grad

    def function(query: Tensor, key: Tensor, value: Tensor, grad: Tensor) -> None:
        def loss(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            view = AttentionView(Attention(query, key), (1, num_tokens))
            out, term = form_of_attention(view, value, observe=observe)
            return (out * grad).sum() + (0 if term is None else term)

        _gradients(loss, (query, key, value), None)

    return function, inputs


def _measured(
    function: Callable[..., None], inputs: Callable[[], tuple[Tensor, ...]], repeats: int, warmup: int = 1
) -> Measurement:
    """Measure a function of drawn tensors. On a GPU they take turns, so that none is found in its cache."""
    torch.manual_seed(0)
    turns = itertools.cycle([inputs() for _ in range(3 if torch.cuda.is_available() else 1)])
    measurement = measure(lambda: function(*next(turns)), repeats, warmup)
    return measurement._replace(device_seconds=device_seconds(lambda: function(*next(turns)), repeats))


def _gradients(function: Callable[..., Tensor], inputs: tuple[Tensor, ...], grad: Tensor | None) -> None:
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    function(*leaves).backward(grad)
