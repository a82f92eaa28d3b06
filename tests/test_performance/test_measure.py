import os

import pytest
import torch

from mmrobust.performance.measure import in_own_process, measure


def _allocate(megabytes):
    kept = measure(lambda: torch.ones(megabytes * 2**18), repeats=3)
    return os.getpid(), kept


@pytest.mark.skipif(not os.access('/proc/self/clear_refs', os.W_OK), reason='the system does not tell peak memory')
@pytest.mark.skipif(torch.cuda.is_available(), reason='counts the memory of the device instead')
def test_peak_memory_in_a_process_of_its_own():
    pid, found = in_own_process(_allocate, 64)
    assert pid != os.getpid()
    assert 60 * 2**20 < found.peak_bytes < 90 * 2**20


def test_times_are_those_after_the_first_runs():
    calls = []
    found = measure(lambda: calls.append(1), repeats=3, warmup=2)
    assert len(calls) == 5
    assert len(found.all_seconds) == 3
    assert found.seconds == sorted(found.all_seconds)[1]


def test_no_repeats():
    with pytest.raises(ValueError, match='got 0'):
        measure(lambda: None, 0)


def test_errors_come_back():
    with pytest.raises(ZeroDivisionError):
        in_own_process(divmod, 1, 0)
