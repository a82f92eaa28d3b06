"""The tests that need a GPU, in one process."""

import os
import time

import torch._inductor.config as inductor

from performance.gpu_check.work import Work

MARKER = 'gpu'
_LINES = 6  # of a failure
_SLOW = ('test_gradients.py', 'test_compile.py')  # processes that import everything, and compiling
_MEASURING = 'test_measure.py'  # last: it waits until nothing runs beside it
_SHOWN = 10  # of the slowest


class _Results:
    """A plugin of pytest that counts, and lets what measures run alone."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.counts = {'passed': 0, 'failed': 0, 'skipped': 0}
        self.failures: dict[str, str] = {}
        self.seconds: dict[str, float] = {}  # of each test, with its fixtures
        self.waited = 0.0  # for other parts
        self.started = time.monotonic()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.place = self.work.alone() if _MEASURING in nodeid else self.work.beside_others()
        asked = time.monotonic()
        self.place.__enter__()
        self.begun = time.monotonic()
        self.waited += self.begun - asked

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] = time.monotonic() - self.begun
        self.place.__exit__(None, None, None)
        self.note()

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
        seconds = time.monotonic() - self.started - self.waited
        slowest = dict(sorted(self.seconds.items(), key=lambda one: -one[1])[:_SHOWN])
        found = dict(seconds=seconds, waited=self.waited, slowest=slowest, failures=self.failures)
        self.work.note('tests', self.counts | found)


def gpu_tests(work: Work) -> None:
    """Run ``pytest -m gpu`` on the files that have such tests: those that measure without anything beside them.

    Raises:
        RuntimeError: there is no pytest, or no such test, or none could be run.
    """
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
    files.sort(key=lambda path: (path.name == _MEASURING, path.name in _SLOW))
    os.chdir(work.root)
    inductor.compile_threads = 1  # as in equality
    results = _Results(work)
    arguments = ['-m', f'{MARKER} and not slow', '-q', '--tb=short', '--durations=20', '-p', 'no:cacheprovider']
    arguments += ['--continue-on-collection-errors', f'--basetemp={work.folder / "pytest"}']
    code = pytest.main([*arguments, *map(str, files)], plugins=[results])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f'pytest ended with {pytest.ExitCode(code).name}, see the log')
    results.note()
    if not work.tiny and not results.counts['passed']:
        raise RuntimeError(f'no test of the marker {MARKER} passed: {results.counts}')
