"""Time and memory of TAP beside a copy, and of attention with ADL beside attention alone."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from mmrobust.ops import ADL_MODES
from performance.gpu_check.equality import dtype_name
from performance.gpu_check.processes import error_lines
from performance.gpu_check.work import Work
from performance.measure import Measurement
from performance.op_cases import adl, tap

# A copy reads and writes once; TAP reads tokens twice and a gradient once, and writes two results.
PASSES_OF_TAP, PASSES_OF_COPY = 5, 2


def ops(work: Work) -> None:
    """Tables by name; each row with time between events, time of the kernels alone, peak memory, and ratios."""
    repeats = 2 if work.tiny else 20
    of_tap = (2, 8, 4, 4) if work.tiny else (8, 448, 64, 64)
    heads, tokens, dims = (2, 16, 8) if work.tiny else (8, 4096, 56)
    classification = (2, 2, 9, 8) if work.tiny else (128, 8, 196, 56)
    one, many = ((batch, heads, tokens, dims) for batch in (1, 8))
    bfloat16, float32 = torch.bfloat16, torch.float32
    tables: dict[str, Callable[[], dict[str, Any]]] = {
        'ADL, batch 8, bfloat16': partial(_adl, many, repeats, bfloat16),
        'ADL, batch 1, bfloat16': partial(_adl, one, repeats, bfloat16),
        'TAP, bfloat16': partial(_tap, of_tap, repeats, bfloat16),
        'TAP, float32': partial(_tap, of_tap, repeats, float32),
        'ADL, classification, bfloat16': partial(_adl, classification, repeats, bfloat16),
        'ADL, batch 1, float32': partial(_adl, one, repeats, float32),
    }
    for options in [*({'mode': mode} for mode in ADL_MODES[1:]), {'sample_rows': tokens // 8}]:
        tables[f'ADL, batch 8, bfloat16{_listed(options)}'] = partial(_adl, many, repeats, bfloat16, **options)
    for name, table in tables.items():
        work.require_time(5, name)
        try:
            work.note(name, table())
        except torch.OutOfMemoryError as error:
            work.note(name, dict(error=error_lines(error)))
            torch.cuda.empty_cache()


def _tap(shape: tuple[int, int, int, int], repeats: int, dtype: torch.dtype) -> dict[str, Any]:
    rows = {form: tap(form, shape, 4, repeats, dtype) for form in ('copy', 'ours')}
    found = beside(rows, 'copy')
    ours, copy = found['rows']['ours'], found['rows']['copy']
    for number in ('seconds', 'device_seconds'):
        if ours[number]:
            ours[f'bandwidth by {number}'] = PASSES_OF_TAP / PASSES_OF_COPY * copy[number] / ours[number]
    return found | {'title': f'TAP, forward and backward, {shape}, K = 4, {dtype_name(dtype)}'}


def _adl(shape: tuple[int, int, int, int], repeats: int, dtype: torch.dtype, **options: Any) -> dict[str, Any]:
    """Of ``shape`` = (B, H, N, D)."""
    batch, heads, tokens, dims = shape
    alone = 'attention alone'
    rows = {form: adl(form, heads, dims, tokens, repeats, dtype, batch, **options) for form in (alone, 'ours')}
    title = f'attention with ADL{_listed(options)}, forward and backward, {shape}, {dtype_name(dtype)}'
    return beside(rows, alone) | {'title': title}


def _listed(options: Mapping[str, Any]) -> str:
    return ''.join(f', {name} {value}' for name, value in options.items())


def beside(rows: Mapping[str, Measurement], reference: str) -> dict[str, Any]:
    """Rows for JSON, each with its ratios to ``reference``."""
    base = rows[reference]
    found = {}
    for name, row in rows.items():
        found[name] = row._asdict() | {
            'time_ratio': row.time_beside(base),
            'device_ratio': row.device_seconds / base.device_seconds if row.device_seconds else None,
            'memory_ratio': row.peak_bytes / base.peak_bytes if row.peak_bytes and base.peak_bytes else None,
        }
    return {'reference': reference, 'rows': found}
