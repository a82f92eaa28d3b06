"""The tests that need a GPU, in one process."""

import os
import time

from performance.gpu_check.work import Work

MARKER = 'gpu'
_LINES = 6  # of a failure
_SLOW = ('test_gradients.py', 'test_compile.py')  # last: processes that import everything, and compiling
_MEASURING = 'test_measure.py'


class _Results:
    """A plugin of pytest that counts."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.counts = {'passed': 0, 'failed': 0, 'skipped': 0}
        self.failures: dict[str, str] = {}
        self.started = time.monotonic()

    def pytest_runtest_logreport(self, report) -> None:
        # a test counts once: by its call, or by what kept it from being called
        if report.when == 'call' or report.outcome != 'passed':
            self.count(report)

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.count(report)

    def count(self, report) -> None:
        self.counts[report.outcome] += 1
        if report.failed:
            self.failures[report.nodeid] = '\n'.join(report.longreprtext.splitlines()[-_LINES:])
        self.note()

    def note(self) -> None:
        seconds = time.monotonic() - self.started
        self.work.note('tests', {**self.counts, 'seconds': seconds, 'failures': self.failures})


def gpu_tests(work: Work) -> None:
    """Run ``pytest -m gpu`` on the files that have such tests: those that measure without anything beside them."""
    try:
        import pytest
    except ImportError:
        raise RuntimeError('pytest is not installed: pip install pytest') from None
    files = [
        path
        for path in sorted((work.root / 'tests').rglob('test_*.py'))
        if f'mark.{MARKER}' in path.read_text(encoding='utf-8')
    ]
    if not files:
        raise RuntimeError(f'there are no tests of the marker {MARKER} in {work.root / "tests"}')
    files.sort(key=lambda path: path.name in _SLOW)
    os.chdir(work.root)
    results = _Results(work)
    arguments = ['-m', f'{MARKER} and not slow', '-q', '--tb=short', '--durations=20', '-p', 'no:cacheprovider']
    arguments += ['--continue-on-collection-errors', f'--basetemp={work.folder / "pytest"}']
    for measuring, place in ((False, work.beside_others), (True, work.alone)):
        chosen = [str(path) for path in files if (path.name == _MEASURING) is measuring]
        with place():
            code = pytest.main([*arguments, *chosen], plugins=[results]) if chosen else pytest.ExitCode.OK
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            raise RuntimeError(f'pytest ended with {pytest.ExitCode(code).name}, see the log')
    results.note()
    if not work.tiny and not results.counts['passed']:
        raise RuntimeError(f'no test of the marker {MARKER} passed: {results.counts}')
