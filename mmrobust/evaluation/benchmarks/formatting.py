"""Numbers as text: rows of CSV, and what stands in a cell of a Markdown table."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any


def as_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Comma-separated lines, numbers unrounded, None empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([header, *rows])
    return text.getvalue()


def shown(value: float | None) -> str:
    """Two decimals, or a dash for None."""
    return '-' if value is None else f'{value:.2f}'


def shown_ends(ends: Sequence[float]) -> str:
    """The two ends of an interval."""
    low, high = ends
    return f'{low:.2f} to {high:.2f}'


def with_interval(summary: dict[str, Any], key: str) -> str:
    """A number of a summary and the interval that lies beside it, or a dash for None."""
    return '-' if summary[key] is None else f'{shown(summary[key])} ({shown_ends(summary[f"{key}_interval"])})'
