"""Measured numbers that may stand beside the paper's: same protocol, all images.

Measures, in percent: ``imagenet``, ``imagenet-a``, ``imagenet-r`` and ``pgd`` (top-1 accuracy); ``mce`` and
``ce/<corruption>``; ``mfr``; ``cityscapes``, ``cityscapes-c`` and ``cityscapes-c/<corruption>`` (mIoU). The paper's
ACDC is the test server's number, which no run has. Each benchmark says which of them its results have.
"""

from dataclasses import dataclass
from pathlib import Path

from mmrobust.evaluation.benchmarks.base import SCOPES, Benchmark, benchmark_types
from mmrobust.evaluation.report import Report

__all__ = ['Measured', 'read_measured']


@dataclass(frozen=True)
class Measured:
    """A run.

    Attributes:
        path: its results.json.
        config: name of its config, without folder and suffix.
        values: measure to number.
        remarks: what of it is left out, and what to know of the rest.
    """

    path: Path
    config: str
    values: dict[str, float]
    remarks: tuple[str, ...]


def read_measured(path: Path) -> Measured:
    """Read a results.json that tools/evaluate_robustness.py wrote.

    Raises:
        ValueError: it is something else.
    """
    report = Report.read(path)
    benchmark = benchmark_types(SCOPES.get(report.layout.kind)).get(report.layout.benchmark, Benchmark)
    try:
        config = Path(report.provenance['config']).stem
        values, remarks = benchmark.paper_numbers(report.results, report.provenance)
        wrong = [f'{name} {value!r}' for name, value in values.items() if not 0 <= value < 1e6]
        if wrong:
            raise ValueError(f'these are no percentages: {", ".join(wrong)[:80]}')
        return Measured(path, config, values, tuple(remarks))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is not the results.json of evaluate_robustness.py: {error!r}') from error
