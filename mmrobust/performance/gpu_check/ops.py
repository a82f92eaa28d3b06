"""Time and memory of TAP beside a copy, and of attention with ADL beside attention alone."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from mmrobust.models.losses import AttentionDiversificationLoss
from mmrobust.ops import ADL_MODES
from mmrobust.performance.gpu_check.equality import dtype_name
from mmrobust.performance.gpu_check.processes import error_lines
from mmrobust.performance.gpu_check.work import Work
from mmrobust.performance.measure import Measurement
from mmrobust.performance.op_cases import adl, tap

# A copy reads and writes once; TAP reads tokens twice and a gradient once, and writes two results.
PASSES_OF_TAP, PASSES_OF_COPY = 5, 2


def ops(work: Work) -> None:
    """Tables by name; each row with time between events, time of the kernels alone, peak memory, and ratios."""
    repeats = 2 if work.tiny else 20
    shape = (2, 8, 4, 4) if work.tiny else (8, 448, 64, 64)
    tokens, classification = (16, (2, 2, 9, 8)) if work.tiny else (4096, (128, 8, 196, 56))
    heads, dims = (2, 8) if work.tiny else (8, 56)
    tables: dict[str, Callable[[], dict[str, Any]]] = {}
    for batch in (8, 1):
        tables[f'ADL, batch {batch}, bfloat16'] = lambda batch=batch: _adl(
            heads, dims, tokens, repeats, torch.bfloat16, batch
        )
    for dtype in (torch.bfloat16, torch.float32):
        tables[f'TAP, {dtype_name(dtype)}'] = lambda dtype=dtype: _tap(shape, repeats, dtype)
    batch, heads_cls, tokens_cls, dims_cls = classification
    tables['ADL, classification, bfloat16'] = lambda: _adl(
        heads_cls, dims_cls, tokens_cls, repeats, torch.bfloat16, batch
    )
    tables['ADL, batch 1, float32'] = lambda: _adl(heads, dims, tokens, repeats, torch.float32, 1)
    others: list[dict[str, Any]] = [{'mode': mode} for mode in ADL_MODES[1:]]
    if 'sample_rows' in inspect.signature(AttentionDiversificationLoss).parameters:
        others.append({'sample_rows': tokens // 8})
    for options in others:
        listed = ', '.join(f'{name} {value}' for name, value in options.items())
        tables[f'ADL, batch 8, bfloat16, {listed}'] = lambda options=options: _adl(
            heads, dims, tokens, repeats, torch.bfloat16, 8, **options
        )
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


def _adl(
    heads: int, dims: int, tokens: int, repeats: int, dtype: torch.dtype, batch: int, **options: Any
) -> dict[str, Any]:
    alone = 'attention alone'
    rows = {form: adl(form, heads, dims, tokens, repeats, dtype, batch, **options) for form in (alone, 'ours')}
    shape = (batch, heads, tokens, dims)
    listed = ''.join(f', {name} {value}' for name, value in options.items())
    title = f'attention with ADL{listed}, forward and backward, {shape}, {dtype_name(dtype)}'
    return beside(rows, alone) | {'title': title}


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
