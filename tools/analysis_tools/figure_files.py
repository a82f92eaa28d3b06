"""A figure as files: PNG and SVG with a caption below it, and its data as CSV."""

import io
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mmrobust.evaluation.page_charts import COLORS
from mmrobust.evaluation.renderers import as_csv
from mmrobust.files import write_whole

__all__ = ['COLORS', 'MARKERS', 'to_csv', 'write_figure']

MARKERS = 'osD^vP'  # one for each of COLORS
_DPI = 150
_LINE = 0.155  # inches of a line of the caption
_LETTERS = 16.5  # of it, per inch


def write_figure(
    figure: Figure, stem: str | Path, caption: str, header: Sequence[str], rows: Iterable[Sequence]
) -> Path:
    """Write ``stem.png``, ``stem.svg`` and ``stem.csv``; the caption is added below the figure, which grows for it.

    Args:
        figure: with its layout in the hands of Matplotlib (``layout='constrained'``).
        stem: path without a suffix; its folder is made if need be.
        caption: what was done.
        header: columns of the data.
        rows: the data.

    Returns:
        Path of the PNG file.
    """
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(caption, max(20, int(width * _LETTERS)))
    below = _LINE * (len(lines) + 1)
    figure.set_size_inches(width, height + below)
    figure.get_layout_engine().set(rect=(0, below / (height + below), 1, height / (height + below)))
    figure.text(0.06 / width, 0.06 / (height + below), '\n'.join(lines), va='bottom', fontsize=8, linespacing=1.3)
    stem = Path(stem)
    # the same figure is the same file: no date, no random names, and text stays text
    with matplotlib.rc_context({'svg.hashsalt': 'mmrobust', 'svg.fonttype': 'none'}):
        for kind, metadata in (('png', {'Software': None}), ('svg', {'Date': None})):
            content = io.BytesIO()
            figure.savefig(content, format=kind, dpi=_DPI, metadata=metadata)
            write_whole(stem.with_name(f'{stem.name}.{kind}'), content.getvalue())
    write_whole(stem.with_name(f'{stem.name}.csv'), to_csv(header, rows))
    return stem.with_name(f'{stem.name}.png')


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV, floats with six digits."""
    return as_csv(header, ([f'{value:.6g}' if isinstance(value, float) else value for value in row] for row in rows))
