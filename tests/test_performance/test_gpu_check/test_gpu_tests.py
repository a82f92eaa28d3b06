import time

import pytest

from performance.gpu_check.gpu_tests import gpu_tests
from performance.gpu_check.processes import Job, run_under_limit
from performance.gpu_check.work import Work

TESTS = """
import pytest

@pytest.fixture
def broken():
    raise ValueError('in the fixture')

@pytest.mark.gpu
def test_good(): pass

@pytest.mark.gpu
def test_bad(): assert 1 + 1 == 3

@pytest.mark.gpu
def test_of_fixture(broken): pass

@pytest.mark.gpu
def test_skipped(): pytest.skip('why')

def test_of_no_gpu(): assert False
"""


MEASURING = """
import pytest

@pytest.mark.gpu
def test_by_itself(): pass
"""


@pytest.fixture
def found(tmp_path):
    def found(**files):
        (tmp_path / 'tests').mkdir()
        for name, text in files.items():
            (tmp_path / 'tests' / f'{name}.py').write_text(text)
        notes = {}
        work = Work(tmp_path, tmp_path, tmp_path, tiny=False).shared_by(1, tmp_path, time.monotonic() + 60)
        [(_, outcome)] = run_under_limit([Job(gpu_tests, work, notes.__setitem__, tmp_path / 'log')], 60)
        return outcome, notes.get('tests')

    return found


def test_counts(found):
    broken_file = 'import pytest, no_such_module\npytest.mark.gpu\n'
    outcome, counts = found(test_a=TESTS, test_b=broken_file, test_c='no_such_name', test_measure=MEASURING)
    assert outcome.state == 'done', outcome
    assert {name: counts[name] for name in ('passed', 'failed', 'skipped')} == {'passed': 2, 'failed': 3, 'skipped': 1}
    assert 0 <= counts['waited'] < 1 and 0 < sum(counts['slowest'].values()) < counts['seconds']
    assert {name.split('::')[-1] for name in counts['slowest']} == {
        'test_good', 'test_bad', 'test_of_fixture', 'test_skipped', 'test_by_itself'
    }  # fmt: skip
    assert {name.split('::')[-1]: text.splitlines()[-1] for name, text in counts['failures'].items()} == {
        'test_bad': 'E   assert (1 + 1) == 3',
        'test_of_fixture': 'E   ValueError: in the fixture',
        'tests/test_b.py': "E   ModuleNotFoundError: No module named 'no_such_module'",
    }


def test_nothing_passed(found):
    outcome, counts = found(test_a=TESTS.replace('def test_good(): pass', 'def test_good(): pytest.skip()'))
    assert outcome.state == 'failed' and 'no test of the marker gpu passed' in outcome.reason
    assert counts['skipped'] == 2


def test_no_tests(found):
    assert 'there are no tests of the marker gpu' in found(test_a='')[0].reason
