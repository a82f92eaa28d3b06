"""What the robustness page says of ACDC."""

from collections.abc import Iterable, Mapping

from mmrobust.visualization.comparison import Comparison
from mmrobust.visualization.html_elements import (
    Html,
    bar_cell,
    difference_cell,
    element,
    heat_cell,
    heat_scale,
    number_cell,
    table,
    titled,
)
from mmrobust.visualization.robustness_numbers import all_keys, difference, ends, number

_ABOUT = (
    'Mean is the mean of the mIoU of the conditions. Pooled is the mIoU of the counts of all pictures together, which '
    'the ACDC server calls all. The two differ: a ratio of sums is not the mean of the ratios.'
)
_FLAT = ' These pictures were not told apart by condition.'
_POOLED = 'pooled'


def acdc_headline(runs: Comparison) -> Iterable[Html]:
    """Mean and pooled mIoU of each run; change against the reference."""
    header = ['run', 'mean mIoU', 'pooled mIoU']
    if runs.reference is not None:
        header.append('pooled change')
    rows = []
    for name, run in runs.results.items():
        row = [runs.key(name), number(run, 'mean_mIoU'), _pooled(run)]
        rows.append([*row, runs.change(name, 'pooled_mIoU')] if runs.reference is not None else row)
    about = _ABOUT + (_FLAT if all_keys(runs.results, 'conditions') == ['all'] else '')
    return element('p', about), table(header, rows)


def acdc_sections(runs: Comparison) -> Iterable[Html]:
    """Everything below the headline, each part under a heading."""
    yield from _conditions(runs)
    yield from _classes(runs)
    yield from _differences(runs)


def _conditions(runs: Comparison) -> Iterable[Html]:
    def row(label: str, cells: list, *path: str) -> list:
        bars = bar_cell({runs.places[name]: number(run, *path) for name, run in runs.results.items()})
        return [label, *cells, bars]

    found = runs.results.values()
    rows = []
    for condition in all_keys(runs.results, 'conditions'):
        at = ('conditions', condition)
        cells = [number_cell(number(run, *at, 'mIoU'), ends(run, *at, 'mIoU_interval')) for run in found]
        rows.append(row(condition, cells, *at, 'mIoU'))
    rows.append(row('mean', [number(run, 'mean_mIoU') for run in found], 'mean_mIoU'))
    rows.append(row(_POOLED, [_pooled(run) for run in found], 'pooled_mIoU'))
    header = ['condition', *runs.keys(), element('th', '0 to 100', class_='text')]
    return element('h3', 'By condition'), element('p', 'mIoU of the pictures of a condition.'), table(header, rows)


def _classes(runs: Comparison) -> Iterable[Html]:
    labels, columns = _table_of(runs)
    if not labels:
        return
    values = [number(run, 'classes', label, at) for run in runs.results.values() for label in labels for at in columns]
    shown = [value for value in values if value is not None] or [0.0]
    low, high = min(shown), max(shown)
    yield element('h3', 'By class and condition')
    about = 'IoU, darker is worse. A dash: the class does not occur in the labels of these pictures. '
    yield element('p', about, heat_scale(low, high))
    tables = []
    for name, run in runs.results.items():
        rows = [
            [label, *(heat_cell(number(run, 'classes', label, at), low, high, None) for at in columns)]
            for label in labels
        ]
        tables.append(titled(runs.key(name), table(['class', *columns], rows)))
    yield element('div', *tables, class_='beside')


def _differences(runs: Comparison) -> Iterable[Html]:
    if not runs.comparable:
        return
    labels, columns = _table_of(runs)
    miou = [*(('conditions', at, 'mIoU') for at in columns if at != _POOLED), ('pooled_mIoU',)]
    paths = {'mIoU': miou} | {label: [('classes', label, at) for at in columns] for label in labels}
    found = {
        name: {
            label: [difference(number(runs.results[name], *path), number(runs.base, *path)) for path in row]
            for label, row in paths.items()
        }
        for name in runs.comparable
    }
    sizes = [abs(gap) for rows in found.values() for row in rows.values() for gap in row if gap is not None]
    yield element('h3', f'Difference to {runs.reference}')
    yield element('p', 'Points of mIoU and IoU. Blue and +: better than the reference; orange and -: worse.')
    tables = []
    for name, rows in found.items():
        cells = [
            [label, *(difference_cell(gap, max(sizes, default=0.0)) for gap in row)] for label, row in rows.items()
        ]
        tables.append(titled(runs.key(name), table(['class', *columns], cells)))
    yield element('div', *tables, class_='beside')


def _table_of(runs: Comparison) -> tuple[list[str], list[str]]:
    """Rows and columns of a table by class."""
    return all_keys(runs.results, 'classes'), [*all_keys(runs.results, 'conditions'), _POOLED]


def _pooled(run: Mapping) -> Html:
    return number_cell(number(run, 'pooled_mIoU'), ends(run, 'pooled_mIoU_interval'))
