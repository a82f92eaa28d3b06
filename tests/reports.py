"""Reports of numbers that no model has to make."""

from typing import Any

from mmrobust.evaluation.benchmarks.base import benchmark_types
from mmrobust.evaluation.report import Report


def report_of(benchmark: str, results: dict, provenance: dict, scope: str | None = None, **more: Any) -> Report:
    """As a run of this benchmark makes it, for models of a scope where it has two kinds."""
    provenance = {'protocol': {'benchmark': benchmark}, **provenance}
    layout = benchmark_types(scope)[benchmark].layout(results, provenance)
    return Report(layout, results, provenance, **more)
