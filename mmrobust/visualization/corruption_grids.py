"""Corruption by severity: curves, coloured numbers and coloured differences."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mmrobust.visualization.comparison import Comparison
from mmrobust.visualization.html_elements import (
    Html,
    difference_cell,
    element,
    heat_cell,
    heat_scale,
    severity_chart,
    table,
    titled,
)
from mmrobust.visualization.robustness_numbers import all_severities, cell_values, difference, ends, number


@dataclass(frozen=True)
class Measure:
    """What a model is measured by under each corruption at each severity.

    Args:
        key: name of the measure in the results of a cell.
        title: what the page calls it.
        clean: its name, on clean pictures, in the results of a run.
        below: where it is in the results of a corruption; empty if those are the number itself.
        lower_is_better: for errors.
    """

    key: str
    title: str
    clean: str
    below: tuple[str, ...] = ()
    lower_is_better: bool = False


def severity_curves(runs: Comparison, measure: Measure, corruptions: Mapping[str, str]) -> Iterable[Html]:
    """A chart for each corruption, given as name to what the page calls it."""
    clean = {name: number(run, measure.clean) for name, run in runs.results.items()}
    cells = {name: cell_values(run, measure.key) for name, run in runs.results.items()}
    values = [*clean.values(), *(value for found in cells.values() for value in found.values())]
    shown = [value for value in values if value is not None] or [0.0]
    low, high = 10 * math.floor(min(shown) / 10), 10 * math.ceil(max(shown) / 10)
    charts = []
    for corruption, label in corruptions.items():
        lines = {
            runs.places[name]: {0: clean[name]}
            | {level: value for (of, level), value in found.items() if of == corruption}
            for name, found in cells.items()
        }
        chart = severity_chart(lines, low, max(high, low + 10), f'{measure.title} of {label} by severity')
        charts.append(element('figure', chart, element('figcaption', label)))
    yield element('h3', 'Curves over severity')
    yield element('p', f'{measure.title} from clean pictures, 0, to severity 5; one scale for all.')
    yield element('p', *runs.keys())
    yield element('div', *charts, class_='charts')


def severity_heat(runs: Comparison, measure: Measure, corruptions: Mapping[str, str]) -> Iterable[Html]:
    """A table of all cells for each run, darker where it is worse; corruptions as in :func:`severity_curves`."""
    found = [value for run in runs.results.values() for value in cell_values(run, measure.key).values()]
    shown = [value for value in found if value is not None] or [0.0]
    worst, best = (max(shown), min(shown)) if measure.lower_is_better else (min(shown), max(shown))
    yield element('h3', 'By corruption and severity')
    about = f'{measure.title}, darker is worse; the 95% interval of a cell appears under the pointer. '
    yield element('p', about, heat_scale(worst, best))
    levels = all_severities(runs.results)
    tables = []
    for name, run in runs.results.items():
        rows = []
        for corruption, label in corruptions.items():
            cells = [run['cells'].get(f'{corruption}_{level}') for level in levels]
            intervals = [ends(cell, f'{measure.key}_interval') for cell in cells]
            row = [
                heat_cell(number(cell, measure.key), worst, best, interval)
                for cell, interval in zip(cells, intervals, strict=True)
            ]
            rows.append([label, *row, number(run, 'corruptions', corruption, *measure.below)])
        tables.append(titled(runs.key(name), table(['corruption', *levels, 'mean'], rows)))
    yield element('div', *tables, class_='beside')


def severity_differences(runs: Comparison, measure: Measure, corruptions: Mapping[str, str]) -> Iterable[Html]:
    """A table of all cells against the reference for each run of the same cells; nothing if there is none."""
    if not runs.comparable:
        return
    base, levels = cell_values(runs.base, measure.key), all_severities(runs.results)
    gaps = {
        name: {at: difference(value, base[at]) for at, value in cell_values(runs.results[name], measure.key).items()}
        for name in runs.comparable
    }
    largest = max((abs(gap) for found in gaps.values() for gap in found.values() if gap is not None), default=0.0)
    better, worse = '-+' if measure.lower_is_better else '+-'
    about = f'Blue and {better}: better than the reference; orange and {worse}: worse.'
    yield element('h3', f'Difference to {runs.reference}')
    yield element('p', f'Points of {measure.key}. {about}')
    tables = []
    for name, found in gaps.items():
        rows = [
            [
                label,
                *(
                    difference_cell(found.get((corruption, level)), largest, measure.lower_is_better)
                    for level in levels
                ),
            ]
            for corruption, label in corruptions.items()
        ]
        tables.append(titled(runs.key(name), table(['corruption', *levels], rows)))
    yield element('div', *tables, class_='beside')
