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

from mmrobust.processes import end_with_parent

_STATUS = Path('/proc/self/status')
_CLEAR_REFS = Path('/proc/self/clear_refs')
_CYCLES_PER_SECOND = 2e9  # of a GPU's clock, roughly: how long a kernel waits that waits for cycles


class Measurement(NamedTuple):
    """Time and memory of one function."""

    seconds: float  # median
    all_seconds: list[float]  # of each repeat, or of each round
    peak_bytes: int | None  # largest memory during a run, over that at its start; None where it is not known
    device_seconds: float | None = None  # of a GPU's kernels alone, see :func:`device_seconds`

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
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn'), end_with_parent) as pool:
        return pool.submit(case, *args).result()


def in_turn(cases: Mapping[str, tuple[Any, ...]], rounds: int) -> dict[str, list[Any]]:
    """Results of :func:`in_own_process` for each case, ``rounds`` times.

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
    kernels = [measurement.device_seconds for measurement in measurements]
    return Measurement(
        statistics.median(seconds),
        seconds,
        None if None in peaks else int(statistics.median(peaks)),
        None if None in kernels else statistics.median(kernels),
    )


def measure(function: Callable[[], Any], repeats: int, warmup: int = 1) -> Measurement:
    """Run a function ``warmup`` times and then ``repeats`` times.

    On CUDA time is that between two events on an idle GPU, so launches count. Memory is that of the first run after the
    warm-up: on CUDA that of tensors, on a CPU the resident memory of the process (Linux only), which has given back
    what it did not need before.

    Raises:
        ValueError: ``repeats`` is below 1.
    """
    if repeats < 1:
        raise ValueError(f'repeats must be 1 or more, got {repeats}')
    cuda = torch.cuda.is_available()
    seconds, peak = [], None
    for index in range(warmup + repeats):
        at_start = _reset_peak(cuda) if index == warmup else None
        took = (_seconds_between_events if cuda else _wall_seconds)(function)
        if index >= warmup:
            seconds.append(took)
        if at_start is not None:
            peak = _peak(cuda) - at_start
    return Measurement(statistics.median(seconds), seconds, peak)


def device_seconds(function: Callable[[], Any], repeats: int = 10) -> float | None:
    """Median time that the kernels of a call take one after the other, however long Python needs to launch them.

    They are queued behind a kernel that waits, and the time is that between two events in the same queue. It is right
    for a call that launches fewer kernels than the queue has room for (about a thousand) and does not wait for the GPU.

    Returns:
        None without CUDA.
    """
    if not torch.cuda.is_available():
        return None
    launching = max(_seconds_between_events(function) for _ in range(2))
    cycles = int((2 * launching + 1e-4) * _CYCLES_PER_SECOND)
    found = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(cycles)
        start.record()
        function()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end) / 1e3)
    return statistics.median(found)


def profiler_sees_kernels() -> bool:
    """Whether PyTorch's profiler has what it needs (CUPTI) to see the kernels of a GPU."""
    return torch.profiler.ProfilerActivity.CUDA in torch.profiler.supported_activities()


class Kernel(NamedTuple):
    """Profile of all launches of one kernel, or of one operator on a CPU."""

    name: str
    calls: int
    seconds: float


def profile(function: Callable[[], Any]) -> list[Kernel]:
    """Every kernel that a call launches, the longest first; on a CPU every operator, by its own time.

    Raises:
        RuntimeError: there is a GPU, of which PyTorch's profiler sees nothing, as without CUPTI.
    """
    cuda = torch.cuda.is_available()
    activity = torch.profiler.ProfilerActivity
    if cuda and not profiler_sees_kernels():
        raise RuntimeError("PyTorch's profiler does not see the kernels of this GPU")
    with torch.profiler.profile(activities=[activity.CUDA if cuda else activity.CPU]) as profiler:
        function()
        if cuda:
            torch.cuda.synchronize()
    found = []
    for event in profiler.key_averages():
        if cuda and event.device_type != torch.autograd.DeviceType.CUDA:
            continue
        microseconds = event.self_device_time_total if cuda else event.self_cpu_time_total
        found.append(Kernel(event.key, event.count, microseconds / 1e6))
    return sorted(found, key=lambda kernel: -kernel.seconds)


def _seconds_between_events(function: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    function()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def _wall_seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


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
