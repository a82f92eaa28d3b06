import os
import time

import pytest
import torch

from performance.measure import (
    Measurement,
    device_seconds,
    in_own_process,
    in_turn,
    measure,
    profile,
    together,
)


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


def test_in_turn(tmp_path):
    log = tmp_path / 'log'
    found = in_turn({name: (_note, log, name) for name in 'ab'}, rounds=2)
    assert log.read_text() == 'abab'
    assert found == {'a': [1, 3], 'b': [2, 4]}


def _note(log, name):
    with log.open('a') as file:
        file.write(name)
    return len(log.read_text())


def test_together():
    two = [Measurement(2.0, [1.0, 2.0, 9.0], 10), Measurement(3.0, [3.0], 20)]
    assert together(two) == Measurement(2.5, [2.0, 3.0], 15)
    assert together([two[0], Measurement(1.0, [1.0], None)]).peak_bytes is None


def test_together_of_kernels_alone():
    two = [Measurement(2.0, [2.0], None, 0.5), Measurement(4.0, [4.0], None, 1.5)]
    assert together(two).device_seconds == 1.0
    assert together([two[0], Measurement(4.0, [4.0], None)]).device_seconds is None


@pytest.mark.skipif(torch.cuda.is_available(), reason='there are kernels to time')
def test_no_kernels_on_a_cpu():
    assert device_seconds(lambda: pytest.fail('was called')) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason='lists kernels instead')
def test_profile_on_a_cpu():
    left, right = torch.randn(2, 200, 200)
    found = profile(lambda: left @ right @ right)
    assert found[0].name == 'aten::mm' and found[0].calls == 2
    assert [kernel.seconds for kernel in found] == sorted((kernel.seconds for kernel in found), reverse=True)


@pytest.mark.gpu
def test_kernels_alone_take_less_than_calls_that_python_delays():
    x = torch.randn(2**20, device='cuda')

    def call():
        for _ in range(20):
            x.sin()
            time.sleep(1e-3)

    assert device_seconds(call) < 5e-3 < 20e-3 < measure(call, repeats=3).seconds


@pytest.mark.gpu
def test_kernels_alone_take_what_waiting_takes():
    def call():
        torch.cuda._sleep(10**7)

    assert device_seconds(call) == pytest.approx(measure(call, repeats=3).seconds, rel=0.2)


@pytest.mark.gpu
def test_profile_on_a_gpu():
    left, right = torch.randn(2, 4096, 4096, device='cuda')
    found = profile(lambda: (left @ right).sin().sin())
    assert sum(kernel.calls for kernel in found if 'sin_kernel' in kernel.name) == 2
    assert 'sin_kernel' not in found[0].name and all(kernel.seconds > 0 for kernel in found)


@pytest.mark.gpu
def test_memory_on_a_gpu_is_that_of_tensors():
    assert measure(lambda: torch.ones(2**20, device='cuda'), repeats=2).peak_bytes == 2**22


def test_time_beside_another_is_taken_round_by_round():
    """In the second round the machine was ten times slower; medians over all would say 1.1."""
    mine, others = Measurement(2.2, [2.0, 22.0, 2.2], None), Measurement(2.0, [1.0, 11.0, 2.0], None)
    assert mine.time_beside(others) == pytest.approx(2.0)
    with pytest.raises(ValueError, match='zip'):
        mine.time_beside(Measurement(1.0, [1.0], None))
