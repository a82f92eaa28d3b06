import pytest

from performance.targets import ON_CPU, ON_CUDA, judge

TAP = {'forms': {'ours': {'time_ratio': 1 / 13, 'peak_bytes': 6 * 448 * 64 * 64 * 4, 'seconds': 6.0},
                 'copy': {'seconds': 1.0}}}  # fmt: skip


def test_what_was_not_measured_is_not_judged():
    assert judge(ON_CPU, {}) == []
    found = {row['what']: (row['measured'], row['held']) for row in judge(ON_CPU, {'tap': TAP})}
    assert found == {
        'TAP, eager': (pytest.approx(13), True),
        'TAP, memory beside its output and gradient': (pytest.approx(4), False),
    }


def test_memory_that_the_system_does_not_tell():
    forms = {'TAP + ADL': {'time_ratio': 1.3, 'memory_ratio': None, 'peak_bytes': None}}
    parts = {'step': {'batch_size': 4, 'tables': {'1024, beside baseline': {'forms': forms}}}}
    assert [(row['measured'], row['held']) for row in judge(ON_CUDA, parts)] == [(1.3, False)]


def test_on_cuda():
    forms = {'TAP + ADL': {'time_ratio': 1.2, 'memory_ratio': 1.05, 'peak_bytes': 48e9}}
    parts = {'tap': TAP, 'step': {'batch_size': 4, 'tables': {'1024, beside baseline': {'forms': forms}}}}
    found = {f'{row["what"]} in {row["unit"]}': (row['measured'], row['held']) for row in judge(ON_CUDA, parts)}
    assert found['TAP in of the bandwidth of a copy'] == (pytest.approx(2.5 / 6), False)
    assert found['8 crops of 1024, memory in GB'] == (96, False)
    assert found['training step at 1024, time in x baseline'] == (1.2, True)
