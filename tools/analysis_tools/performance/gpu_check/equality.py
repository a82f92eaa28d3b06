"""Every kernel and form of TAP and ADL against the plain formula in float64, value and gradient."""

# B batch, H W token grid or H heads, N tokens, C channels, D channels per head, K branches, S regions

import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch._inductor.config as inductor
from mmengine.device import get_device
from torch import Tensor

from mmrobust import ops
from mmrobust.ops import (
    ADL_MODES,
    Attention,
    attention_diversification,
    attention_diversification_reference,
    attention_probs,
    dilated_windows,
    diversified_attention,
    kernel_windows,
    weighted_avg_pool,
    weighted_avg_pool_reference,
)
from performance.gpu_check.processes import error_lines
from performance.gpu_check.work import Work
from performance.measure import profiler_sees_kernels

# Largest error allowed, over the largest entry. A kernel may round to the dtype of its inputs more than once, and
# entries whose rounding crosses the threshold count in full; maps are kept in bfloat16 for float16 too.
TOLERANCES = {torch.float32: 2e-4, torch.float16: 1e-2, torch.bfloat16: 2e-2}
DTYPES = (torch.bfloat16, torch.float32, torch.float16)
TAU = 1.5


class Case(NamedTuple):
    """One comparison.

    Attributes:
        op: what is compared: ``'TAP'``, ``'ADL'``, ``'ADL + attention'``.
        detail: sizes and options, in words.
        dtype: of the inputs.
        compiled: under ``torch.compile(fullgraph=True)``.
        has_kernel: whether a kernel of this project is expected to run on a GPU.
        values: ``values(compile)`` gives results and expected results by name; it calls what it compares by way of
            ``compile``.
        floor: what the largest entry of a result is at least taken to be: below it, an exact 0 would be compared with
            rounding.
    """

    op: str
    detail: str
    dtype: torch.dtype
    compiled: bool
    has_kernel: bool
    values: Callable[[Callable[[Callable], Callable]], tuple[dict[str, Tensor], dict[str, Tensor]]]
    floor: float = 1e-12

    @property
    def name(self) -> str:
        form = ', compiled' if self.compiled else ''
        return f'{self.op}, {dtype_name(self.dtype)}, {self.detail}{form}'


def equality(work: Work) -> None:
    """Compare all cases, the most used ones first."""
    # in this process alone: a pool of compilers takes longer to start than these small graphs to compile
    inductor.compile_threads = 1
    for case in work.mine(cases(work.tiny)):
        work.require_time(2, case.name)
        with work.beside_others():
            work.note(case.name, compare(case, 'aot_eager' if work.tiny else 'inductor'))
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # after an error of CUDA nothing works any more: that ends the process


def compare(case: Case, backend: str = 'inductor') -> dict[str, Any]:
    """Errors of a case, whether they are allowed, and which kernels of this project ran."""

    def compiling(function: Callable) -> Callable:
        return torch.compile(function, fullgraph=True, backend=backend) if case.compiled else function

    started = time.monotonic()
    tolerance = TOLERANCES[case.dtype]
    found: dict[str, Any] = dict(op=case.op, dtype=dtype_name(case.dtype), compiled=case.compiled, tolerance=tolerance)
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings(record=True) as warned, launched_kernels(case.compiled) as kernels:
            warnings.simplefilter('always')
            results, expected = case.values(compiling)
    except Exception as error:
        return found | dict(held=False, error=error_lines(error))
    finally:
        if case.compiled:
            torch.compiler.reset()
    errors = {name: _error(result, expected[name], case.floor) for name, result in results.items()}
    found |= dict(
        errors=errors,
        kernels=sorted(kernels),
        warnings=sorted({str(one.message) for one in warned if issubclass(one.category, RuntimeWarning)}),
        failure=kernel_failure(),
        seconds=time.monotonic() - started,
    )
    # if the first kernels of a sequence ran, a later one may have failed
    all_ran = kernels and found['failure'] is None
    found['fell back'] = bool(torch.cuda.is_available() and case.has_kernel and not all_ran)
    found['held'] = all(error <= tolerance for error in errors.values()) and not found['fell back']
    return found


def cases(tiny: bool) -> list[Case]:
    """All comparisons, those that matter most first: a check that runs out of time has made them."""
    n, large = (12, 40) if tiny else (197, 4096)
    # shapes (B, H, W, C): of FAN-B-Hybrid; odd, with more channels than a block has; smaller than every window
    grids = ((1, 6, 5, 8), (2, 3, 4, 5)) if tiny else ((2, 64, 64, 448), (2, 13, 17, 200))
    found = []
    for dtype in DTYPES:
        found += [
            _tap(grids[0], 'dilated, K = 4', dilated_windows(4), dtype),
            *(_adl(mode, False, (2, 8, n, 56), dtype, with_output=True) for mode in ADL_MODES),
            _adl(ADL_MODES[0], False, (1, 8, large, 56), dtype, with_output=True),
        ]
    for compiled_dtype in DTYPES[:2]:
        found += [
            _tap(grids[1], 'dilated, K = 4', dilated_windows(4), compiled_dtype, compiled=True),
            *(_adl(mode, False, (2, 8, n, 56), compiled_dtype, with_output=True, compiled=True) for mode in ADL_MODES),
        ]
    for dtype in DTYPES:
        for mode in ADL_MODES:
            for per_head in (False, True):
                found += [_adl(mode, per_head, (2, 8, tokens, 56), dtype) for tokens in (n, 5)]
            found.append(_adl(mode, True, (2, 8, n, 56), dtype, with_output=True))
            found.append(_adl(mode, False, (1, 8, large, 56), dtype))
        found += [
            _tap(grids[1], 'dilated, K = 4', dilated_windows(4), dtype),
            _tap(grids[1], '3 x 3 and 5 x 5', kernel_windows(3), dtype),
            _tap((1, 2, 3, 7), 'dilated, K = 3', dilated_windows(3), dtype),
            _tap((1, 1, 1, 1), 'dilated, K = 2', dilated_windows(2), dtype),
            _tap(grids[1], 'one window, 3 x 3', ((-1, 0, 1),), dtype),
            _adl(ADL_MODES[0], False, (2, 8, 2 * n + 3, 56), dtype),
            _adl(ADL_MODES[0], False, (3, 3, 5, 24), dtype),
            _adl(ADL_MODES[0], False, (128 if not tiny else 4, 8, 196 if not tiny else 9, 56), dtype),
            _adl(ADL_MODES[0], False, (2, 4, 49, 32), dtype, extra='bias and regions'),
            _adl(ADL_MODES[0], False, (2, 4, 49, 32), dtype, with_output=True, extra='gate'),
        ]
    return list({case.name: case for case in found}.values())


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')


def kernel_failure() -> str | None:
    """Why the project's kernels do not compile here; None where they do, or have not been asked for yet."""
    kernels = getattr(ops, 'kernels', None)
    return kernels.failure() if hasattr(kernels, 'failure') else None


@contextmanager
def launched_kernels(look_into_compiled: bool) -> Iterator[set[str]]:
    """Within it, the names of this project's Triton kernels that are launched come together in a set.

    Args:
        look_into_compiled: compiled code launches them by itself, which only a profile shows.
    """
    found: set[str] = set()
    if not torch.cuda.is_available() or find_spec('triton') is None:
        yield found
        return
    from triton.runtime import JITFunction

    run = JITFunction.run

    def noting(kernel: JITFunction, *args: Any, **kwargs: Any) -> Any:
        launched = run(kernel, *args, **kwargs)
        if kernel.fn.__module__.startswith('mmrobust.'):  # only now: it may not have compiled
            found.add(kernel.fn.__name__)
        return launched

    with mock.patch.object(JITFunction, 'run', noting):
        if not look_into_compiled or not profiler_sees_kernels():
            yield found
            return
        profiled = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
        with profiled:
            yield found
            torch.cuda.synchronize()
        found |= own_kernels({event.key for event in profiled.key_averages()})


def own_kernels(names: set[str]) -> set[str]:
    """Which Triton kernels of this project, of the modules that were imported, are among the names of a profile."""
    if find_spec('triton') is None:
        return set()
    from triton.runtime import JITFunction

    found = set()
    for name, module in list(sys.modules.items()):
        if name.startswith('mmrobust.ops'):
            for kernel in vars(module).values():
                while kernel is not None and not isinstance(kernel, JITFunction):
                    kernel = getattr(kernel, 'fn', None) if type(kernel).__module__.startswith('triton.') else None
                if kernel is not None:
                    found.add(kernel.fn.__name__)
    # inductor may number them
    return {own for own in found if any(re.fullmatch(rf'{own}(_\d+)?', name) for name in names)}


def _tap(
    shape: tuple[int, ...],
    title: str,
    windows: Sequence[tuple[int, ...]],
    dtype: torch.dtype,
    compiled: bool = False,
) -> Case:
    def values(compiling: Callable[[Callable], Callable]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        x, grad = (torch.randn(shape, device=get_device()).to(dtype) for _ in range(2))
        weights = torch.randn(*shape[:3], len(windows), device=get_device()).softmax(-1).to(dtype)

        def run(pool: Callable, *inputs: Tensor) -> dict[str, Tensor]:
            x, weights, grad = (tensor.detach().clone().requires_grad_() for tensor in inputs)
            out = pool(x, weights)
            grads = torch.autograd.grad(out, (x, weights), grad.detach())
            return dict(zip(('value', 'gradient of tokens', 'gradient of weights'), (out, *grads), strict=True))

        pool = compiling(lambda x, weights: weighted_avg_pool(x, weights, windows))
        results = run(pool, x, weights, grad)
        expected = run(
            lambda x, weights: weighted_avg_pool_reference(x, weights, windows),
            *(tensor.double() for tensor in (x, weights, grad)),
        )
        return results, expected

    return Case('TAP', f'{shape}, {title}', dtype, compiled, True, values)


def _adl(
    mode: str,
    per_head: bool,
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    with_output: bool = False,
    extra: str = '',
    compiled: bool = False,
) -> Case:
    options = dict(tau=TAU, mode=mode, per_head=per_head)

    def values(compiling: Callable[[Callable], Callable]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        query, key, value, grad = _attention_inputs(shape, dtype)
        gate, bias, *regions = extras = _extras(extra, shape, dtype)

        def formula(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            wide = (None if one is None else one.double() for one in (gate, bias))
            attn = attention_probs(Attention(query, key, *wide))
            loss = attention_diversification_reference(
                attn, **options, query_regions=regions[0], key_regions=regions[1]
            )
            return attn @ value, loss

        def function(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            attention = Attention(query, key, *extras)
            if with_output:
                return diversified_attention(attention, value, **options)
            return query, attention_diversification(attention, **options)

        expected_leaves = [tensor.double().requires_grad_() for tensor in (query, key, value)]
        out, loss = formula(*expected_leaves)
        of_loss = [*torch.autograd.grad(loss, expected_leaves[:2], retain_graph=with_output)]
        leaves = [tensor.detach().clone().requires_grad_() for tensor in (query, key, value)]
        results_out, results_loss = compiling(function)(*leaves)
        names = ('query', 'key')
        results, expected = {'loss': results_loss}, {'loss': loss}
        if not with_output:
            grads = torch.autograd.grad(results_loss, leaves[:2])
        else:
            of_out = torch.autograd.grad(out, expected_leaves, grad.double())
            # as large as the gradient of the output, so that an error of either is seen
            weight = float(sum(map(torch.linalg.vector_norm, of_out)) / sum(map(torch.linalg.vector_norm, of_loss)))
            of_loss = [of_out[0] + weight * of_loss[0], of_out[1] + weight * of_loss[1], of_out[2]]
            grads = torch.autograd.grad((results_out, results_loss), leaves, (grad, results_loss.new_tensor(weight)))
            names += ('value',)
            results['output'], expected['output'] = results_out, out
        results |= {f'gradient of {name}': one for name, one in zip(names, grads, strict=True)}
        expected |= {f'gradient of {name}': one for name, one in zip(names, of_loss, strict=True)}
        return results, expected

    op = 'ADL + attention' if with_output else 'ADL'
    detail = ', '.join([str(shape), mode, 'per head' if per_head else 'heads averaged', *([extra] if extra else [])])
    floor = 1e-3 / (shape[0] * shape[2])  # of a mean over that many rows, each between 0 and 1
    return Case(op, detail, dtype, compiled, not extra, values, floor)


def _attention_inputs(shape: tuple[int, int, int, int], dtype: torch.dtype) -> list[Tensor]:
    """Query, key, value and a gradient: attention sharp enough, and drawn enough to some keys, for every mode."""
    query, key, value, grad = (torch.randn(shape, device=get_device()) for _ in range(4))
    query *= 4 * shape[-1] ** -0.5
    query[..., 0] += 3
    key[:, :, ::7, 0] += 1.5
    return [tensor.to(dtype) for tensor in (query, key, value, grad)]


def _extras(extra: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> list[Tensor | None]:
    """Gate, bias and regions of queries and keys."""
    batch, heads, n, _ = shape
    device = get_device()
    if extra == 'gate':
        return [torch.rand(heads, n, n, device=device).to(dtype) + 0.5, None, None, None]
    if extra == 'bias and regions':
        regions = torch.zeros(batch, 2, n, dtype=torch.bool, device=device)
        regions[:, 0, : n // 3] = regions[:, 1, n // 3 :] = True
        apart = ~(regions.transpose(1, 2).float() @ regions.float()).bool().unsqueeze(1)
        bias = torch.randn(1, heads, n, n, device=device).masked_fill(apart, -torch.inf).to(dtype)
        return [None, bias, regions, regions]
    return [None] * 4


def _error(result: Tensor, expected: Tensor, floor: float) -> float:
    """Largest difference over the largest entry or ``floor``; infinite for another shape, or what is not finite."""
    if result.shape != expected.shape or not result.isfinite().all():
        return float('inf')
    result, expected = result.detach(), expected.detach()
    largest = expected.abs().max().clamp(min=floor)
    return float((result.double() - expected).abs().max() / largest)
