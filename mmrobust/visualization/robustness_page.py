"""Robustness results of one or several runs as one self-contained HTML page."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from mmrobust.visualization.html_elements import (
    COLORS,
    Html,
    difference_cell,
    document,
    element,
    heat_cell,
    heat_scale,
    key,
    severity_chart,
    table,
    titled,
)
from mmrobust.visualization.robustness_numbers import (
    all_keys,
    all_severities,
    cell_values,
    degradation_of,
    interval,
    mean,
    number,
    protocol_differences,
)

_LEGEND = (
    'All numbers are in percent. A cell is one corruption at one severity; its mIoU is that of the counts of all '
    'pictures. mPC is the mean over corruptions, each the mean over its severities. Retention is mPC over clean mIoU. '
    'Intervals: 95%, bootstrap over pictures.'
)
_CD = (
    ' Changes are against {0}. CD is the sum of 100 - mIoU over the severities of a corruption, over that of {0}: '
    'lower is better, {0} has 100.'
)


def robustness_page(
    runs: Mapping[str, Mapping[str, Any]],
    published: Mapping[str, Mapping[str, Any]] | None = None,
    reference: str | None = None,
    title: str = 'Segmentation robustness',
) -> str:
    """One HTML5 page that needs no other file: styles and charts are inside, and there is no script.

    Args:
        runs: display name to the content of a ``results.json``: ``results`` and ``provenance``. What is absent, or is
            not a finite number, becomes a dash.
        published: model to ``corruptions`` (mIoU in percent of each) and ``average``, as printed in the paper, for the
            same severities as the runs. Shown, and labelled so, if the runs hold exactly these corruptions.
        reference: the run that CD and differences are against. Runs of other cells than its own get a dash.
        title: heading of the page.

    Returns:
        ASCII text; other characters are written as character references.

    Raises:
        ValueError: there is no run, or no run is called like the reference.
    """
    if not runs:
        raise ValueError('a page needs one run at least, got none')
    if reference is not None and reference not in runs:
        raise ValueError(f'the reference must be one of {", ".join(runs)}, got {reference!r}')
    results = {name: run['results'] for name, run in runs.items()}
    degradation = {name: degradation_of(results, name, reference) for name in runs}
    legend = _LEGEND + (_CD.format(reference) if reference is not None else '')
    differences = protocol_differences(runs)
    body = [
        element('h1', title),
        element('p', legend),
        element('p', f'These runs differ in {"; ".join(differences)}.', class_='warning') if differences else '',
        *_headline(results, degradation, reference),
        *_groups(results),
        *_corruptions(results, degradation, reference),
        *_curves(results),
        *_heat(results),
        *_differences(results, degradation, reference),
        *_severities(results),
        *_classes(results),
        *_published(results, published or {}),
        *_provenance(runs),
    ]
    page = f'{document(title, body)}\n'
    return page.encode('ascii', 'xmlcharrefreplace').decode()


def _headline(results: Mapping, degradation: Mapping, reference: str | None) -> Iterable[Html]:
    header = ['run', 'clean mIoU', 'mPC', 'retention']
    rows = []
    for index, (name, run) in enumerate(results.items()):
        ends = element('div', interval(run.get('clean_mIoU_interval')), class_='under')
        clean = element('td', number(run, 'clean_mIoU'), ends)
        row = [key(index, name), clean, number(run, 'mPC'), number(run, 'retention')]
        if reference is not None:
            gain = None
            if degradation[name] and name != reference:
                gain = f'{run["mPC"] - results[reference]["mPC"]:+.2f}'
            row += [gain, mean(degradation[name])]
        rows.append(row)
    if reference is not None:
        header += ['mPC change', 'mean CD']
    return element('h2', 'Headline'), table(header, rows)


def _groups(results: Mapping) -> Iterable[Html]:
    groups = all_keys(results, 'groups')
    rows = [[group, *(number(run, 'groups', group) for run in results.values())] for group in groups]
    about = 'mIoU, mean over the corruptions of a kind.'
    return element('h2', 'By group'), element('p', about), table(['group', *_keys(results)], rows)


def _corruptions(results: Mapping, degradation: Mapping, reference: str | None) -> Iterable[Html]:
    compared = [name for name in results if reference is not None and name != reference]
    header = ['corruption', *_keys(results)]
    header += [*(f'CD, {name}' for name in compared), element('th', '0 to 100', class_='text')]
    rows = []
    for corruption in all_keys(results, 'corruptions'):
        values = [number(run, 'corruptions', corruption) for run in results.values()]
        bars = [
            element('span', class_='bar', style=f'width:{value:.1f}%;background:{COLORS[index % len(COLORS)]}')
            for index, value in enumerate(values)
            if value is not None
        ]
        bar_cell = element('td', *bars, class_='bars')
        rows.append([corruption, *values, *(degradation[name].get(corruption) for name in compared), bar_cell])
    return element('h2', 'By corruption'), element('p', 'mIoU, mean over severities.'), table(header, rows)


def _curves(results: Mapping) -> Iterable[Html]:
    clean = {name: number(run, 'clean_mIoU') for name, run in results.items()}
    values = [*clean.values(), *(value for run in results.values() for value in cell_values(run).values())]
    shown = [value for value in values if value is not None] or [0.0]
    low, high = 10 * math.floor(min(shown) / 10), 10 * math.ceil(max(shown) / 10)
    charts = []
    for corruption in all_keys(results, 'corruptions'):
        lines = [
            {0: clean[name]} | {at[1]: value for at, value in cell_values(run).items() if at[0] == corruption}
            for name, run in results.items()
        ]
        chart = severity_chart(lines, low, max(high, low + 10), f'mIoU of {corruption} by severity')
        charts.append(element('figure', chart, element('figcaption', corruption)))
    about = 'mIoU from clean pictures, 0, to severity 5; one scale for all.'
    legend = element('p', *_keys(results))
    return element('h2', 'Curves over severity'), element('p', about), legend, element('div', *charts, class_='charts')


def _heat(results: Mapping) -> Iterable[Html]:
    values = [value for run in results.values() for value in cell_values(run).values() if value is not None]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    yield element('h2', 'By corruption and severity')
    about = 'mIoU, darker is worse; the 95% interval of a cell appears under the pointer. '
    yield element('p', about, heat_scale(low, high))
    tables = []
    for index, (name, run) in enumerate(results.items()):
        levels = all_severities(results)
        rows = []
        for corruption in all_keys(results, 'corruptions'):
            row = []
            for level in levels:
                cell = run['cells'].get(f'{corruption}_{level}', {})
                row.append(heat_cell(number(cell, 'mIoU'), low, high, interval(cell.get('mIoU_interval'))))
            rows.append([corruption, *row, number(run, 'corruptions', corruption)])
        tables.append(titled(key(index, name), table(['corruption', *levels, 'mean'], rows)))
    yield element('div', *tables, class_='beside')


def _differences(results: Mapping, degradation: Mapping, reference: str | None) -> Iterable[Html]:
    compared = [name for name in results if name != reference and degradation[name]]
    if not compared:
        return
    base, levels = cell_values(results[reference]), all_severities(results)
    gaps = {name: {at: value - base[at] for at, value in cell_values(results[name]).items()} for name in compared}
    largest = max((abs(gap) for found in gaps.values() for gap in found.values()), default=0.0)
    yield element('h2', f'Difference to {reference}')
    yield element('p', 'Points of mIoU. Blue and +: better than the reference; orange and -: worse.')
    tables = []
    for name, found in gaps.items():
        rows = [
            [corruption, *(difference_cell(found.get((corruption, level)), largest) for level in levels)]
            for corruption in all_keys(results, 'corruptions')
        ]
        tables.append(titled(key(list(results).index(name), name), table(['corruption', *levels], rows)))
    yield element('div', *tables, class_='beside')


def _severities(results: Mapping) -> Iterable[Html]:
    held = {
        level: {at[0] for run in results.values() for at in cell_values(run) if at[1] == level}
        for level in all_severities(results)
    }
    rows = [
        [str(level), len(names), *(number(run, 'severities', str(level)) for run in results.values())]
        for level, names in held.items()
    ]
    header = ['severity', 'corruptions', *_keys(results)]
    about = 'Mean mIoU of the cells of a severity.'
    if len({frozenset(names) for names in held.values()}) > 1:
        about += ' Not all corruptions were run at each severity, so these means are not comparable with one another.'
    return element('h2', 'By severity'), element('p', about), table(header, rows)


def _classes(results: Mapping) -> Iterable[Html]:
    kinds = ('clean', 'corrupted')
    rows = [
        [label, *(number(run, 'classes', label, kind) for kind in kinds for run in results.values())]
        for label in all_keys(results, 'classes')
    ]
    header = ['class', *(one for kind in kinds for one in _keys(results, f': {kind}'))]
    about = 'IoU on clean pictures, and the mean over all cells. A dash: the class does not occur in the labels.'
    return element('h2', 'By class'), element('p', about), table(header, rows)


def _published(results: Mapping, published: Mapping) -> Iterable[Html]:
    held = [set(run['corruptions']) for run in (*results.values(), *published.values())]
    if not published or any(found != held[0] for found in held):
        return ()
    header = ['corruption', *_keys(results, ' (measured)')]
    header += [element('th', f'{model} (published)', class_='published') for model in published]
    rows = [
        [
            corruption,
            *(number(run, 'corruptions', corruption) for run in results.values()),
            *(element('td', str(row['corruptions'][corruption]), class_='published') for row in published.values()),
        ]
        for corruption in all_keys(results, 'corruptions')
    ]
    averages = [element('td', str(row['average']), class_='published') for row in published.values()]
    rows.append(['mean', *(number(run, 'mPC') for run in results.values()), *averages])
    about = (
        'The shaded columns, their mean included, are Table IV of the paper as printed: mIoU on the 500 validation '
        'pictures of Cityscapes. They were not measured here, and compare with the other columns only if those are of '
        'the same pictures.'
    )
    return element('h2', 'Published, not measured here'), element('p', about), table(header, rows)


def _provenance(runs: Mapping) -> Iterable[Html]:
    found = [dict(_flat(run.get('provenance', {}))) for run in runs.values()]
    rows = [
        [name, *(element('td', values.get(name), class_='text') for values in found)]
        for name in dict.fromkeys(name for values in found for name in values)
    ]
    header = ['', *(element('th', name, class_='text') for name in _keys(runs))]
    return element('h2', 'Protocol and provenance'), table(header, rows)


def _flat(values: Mapping, prefix: str = '') -> Iterable[tuple[str, Any]]:
    """Nested provenance as rows; a list is folded, because a protocol may have dozens of cells."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f'{prefix}{name} / ')
        elif isinstance(value, list):
            listed = ', '.join(map(str, value))
            yield prefix + name, element('details', element('summary', len(value)), listed)
        else:
            yield prefix + name, None if value is None else str(value)


def _keys(results: Mapping, suffix: str = '') -> list[Html]:
    return [key(index, name, suffix) for index, name in enumerate(results)]
