"""Time and peak memory of a function."""

import ctypes
import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

_STATUS = Path('/proc/self/status')
_CLEAR_REFS = Path('/proc/self/clear_refs')


class Measurement(NamedTuple):
    """What one function took."""

    seconds: float  # median
    all_seconds: list[float]  # of each repeat, or of each round
    peak_bytes: int | None  # largest memory during a run, over that at its start; None where it is not known

    def time_beside(self, other: 'Measurement') -> float:
        """Time over that of ``other``, the median over pairs. Of a round of :func:`in_turn`, both are of one moment."""
        pairs = zip(self.all_seconds, other.all_seconds, strict=True)
        return statistics.median(mine / others for mine, others in pairs)


def in_own_process(case: Callable[..., Any], *args: Any) -> Any:
    """``case(*args)`` in a fresh process, so that no other case's memory or compiled code is there.

    Raises:
        Exception: what the case raised.
        concurrent.futures.process.BrokenProcessPool: the process was killed, as for want of memory.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        return pool.submit(case, *args).result()


def in_turn(cases: Mapping[str, tuple[Any, ...]], rounds: int) -> dict[str, list[Any]]:
    """What :func:`in_own_process` finds for each case, ``rounds`` times.

    One case after the other and then all of them again: a machine that is slower for some minutes, as shared ones are,
    slows all of them, and their ratios are those of one moment.

    Args:
        cases: arguments of :func:`in_own_process`.
        rounds: how often.
    """
    found: dict[str, list[Any]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(in_own_process(*case))
    return found


def together(measurements: Sequence[Measurement]) -> Measurement:
    """The rounds of one case as one measurement."""
    seconds = [measurement.seconds for measurement in measurements]
    peaks = [measurement.peak_bytes for measurement in measurements]
    return Measurement(statistics.median(seconds), seconds, None if None in peaks else int(statistics.median(peaks)))


def measure(function: Callable[[], Any], repeats: int, warmup: int = 1) -> Measurement:
    """Run a function ``warmup`` times and then ``repeats`` times.

    Memory is that of the first run after the warm-up. On CUDA it is that of tensors, on a CPU the resident memory of
    the process (Linux only), which has given back what it did not need before.

    Raises:
        ValueError: ``repeats`` is below 1.
    """
    if repeats < 1:
        raise ValueError(f'repeats must be 1 or more, got {repeats}')
    cuda = torch.cuda.is_available()
    seconds, peak = [], None
    for index in range(warmup + repeats):
        at_start = _reset_peak(cuda) if index == warmup else None
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        if cuda:
            torch.cuda.synchronize()
        if index >= warmup:
            seconds.append(time.perf_counter() - start)
        if at_start is not None:
            peak = _peak(cuda) - at_start
    return Measurement(statistics.median(seconds), seconds, peak)


def _reset_peak(cuda: bool) -> int | None:
    """Let the peak start here; return the memory in use, None if the system does not tell."""
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if not os.access(_CLEAR_REFS, os.W_OK) or not hasattr(ctypes.CDLL(None), 'malloc_trim'):
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else it would find memory that the warm-up left behind
    _CLEAR_REFS.write_text('5')  # sets VmHWM back to VmRSS
    return _status('VmRSS')


def _peak(cuda: bool) -> int:
    return torch.cuda.max_memory_allocated() if cuda else _status('VmHWM')


def _status(entry: str) -> int:
    """Bytes of an entry of ``/proc/self/status``."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f'{entry}:'))
    return int(line.split()[1]) * 1024
