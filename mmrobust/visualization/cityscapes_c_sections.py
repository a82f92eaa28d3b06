"""What the robustness page says of Cityscapes-C."""

from collections.abc import Iterable, Mapping

from mmrobust.visualization.comparison import Comparison
from mmrobust.visualization.corruption_grids import Measure, severity_curves, severity_differences, severity_heat
from mmrobust.visualization.html_elements import Html, bar_cell, element, number_cell, published_table, table
from mmrobust.visualization.robustness_numbers import (
    all_keys,
    all_severities,
    cell_values,
    degradation_of,
    ends,
    mean,
    number,
)

_MIOU = Measure('mIoU', 'mIoU', 'clean_mIoU')
_ABOUT = (
    'A cell is one corruption at one severity; its mIoU is that of the counts of all pictures. mPC is the mean over '
    'corruptions, each the mean over its severities. Retention is mPC over clean mIoU.'
)
_CD = (
    ' Changes are against {0}. CD is the sum of 100 - mIoU over the severities of a corruption, over that of {0}: '
    'lower is better, {0} has 100.'
)


def cityscapes_c_headline(runs: Comparison) -> Iterable[Html]:
    """Clean mIoU, mPC and retention of each run; change and CD against the reference."""
    header = ['run', 'clean mIoU', 'mPC', 'retention']
    if runs.reference is not None:
        header += ['mPC change', 'mean CD']
    rows = []
    for name, run in runs.results.items():
        values = [
            number_cell(number(run, of), ends(run, f'{of}_interval')) for of in ('clean_mIoU', 'mPC', 'retention')
        ]
        if runs.reference is not None:
            values += [runs.change(name, 'mPC'), mean(degradation_of(runs.results, name, runs.reference))]
        rows.append([runs.key(name), *values])
    about = _ABOUT + (_CD.format(runs.reference) if runs.reference is not None else '')
    return element('p', about), table(header, rows)


def cityscapes_c_sections(runs: Comparison, published: Mapping[str, Mapping]) -> Iterable[Html]:
    """Everything below the headline, each part under a heading.

    Args:
        runs: the runs.
        published: as in :func:`mmrobust.visualization.robustness_page.robustness_page`.
    """
    yield from _groups(runs)
    yield from _corruptions(runs)
    corruptions = {name: name for name in all_keys(runs.results, 'corruptions')}
    for part in (severity_curves, severity_heat, severity_differences):
        yield from part(runs, _MIOU, corruptions)
    yield from _severities(runs)
    yield from _classes(runs)
    yield from _published(runs, published)


def _groups(runs: Comparison) -> Iterable[Html]:
    rows = [
        [group, *(number(run, 'groups', group) for run in runs.results.values())]
        for group in all_keys(runs.results, 'groups')
    ]
    about = 'mIoU, mean over the corruptions of a kind.'
    return element('h3', 'By group'), element('p', about), table(['group', *runs.keys()], rows)


def _corruptions(runs: Comparison) -> Iterable[Html]:
    degradation = {name: degradation_of(runs.results, name, runs.reference) for name in runs.others}
    header = ['corruption', *runs.keys(), *(f'CD, {name}' for name in degradation)]
    header.append(element('th', '0 to 100', class_='text'))
    rows = []
    for corruption in all_keys(runs.results, 'corruptions'):
        values = {name: number(run, 'corruptions', corruption) for name, run in runs.results.items()}
        bars = bar_cell({runs.places[name]: value for name, value in values.items()})
        rows.append([corruption, *values.values(), *(found.get(corruption) for found in degradation.values()), bars])
    return element('h3', 'By corruption'), element('p', 'mIoU, mean over severities.'), table(header, rows)


def _severities(runs: Comparison) -> Iterable[Html]:
    held = {
        level: {of for run in runs.results.values() for of, at in cell_values(run) if at == level}
        for level in all_severities(runs.results)
    }
    rows = [
        [str(level), len(names), *(number(run, 'severities', str(level)) for run in runs.results.values())]
        for level, names in held.items()
    ]
    about = 'Mean mIoU of the cells of a severity.'
    if len({frozenset(names) for names in held.values()}) > 1:
        about += ' Not all corruptions were run at each severity, so these means are not comparable with one another.'
    header = ['severity', 'corruptions', *runs.keys()]
    return element('h3', 'By severity'), element('p', about), table(header, rows)


def _classes(runs: Comparison) -> Iterable[Html]:
    kinds = ('clean', 'corrupted')
    rows = [
        [label, *(number(run, 'classes', label, kind) for kind in kinds for run in runs.results.values())]
        for label in all_keys(runs.results, 'classes')
    ]
    header = ['class', *(one for kind in kinds for one in runs.keys(f': {kind}'))]
    about = 'IoU on clean pictures, and the mean over all cells. A dash: the class does not occur in the labels.'
    return element('h3', 'By class'), element('p', about), table(header, rows)


def _published(runs: Comparison, published: Mapping[str, Mapping]) -> Iterable[Html]:
    held = [set(run['corruptions']) for run in (*runs.results.values(), *published.values())]
    if not published or any(found != held[0] for found in held):
        return ()
    rows = {
        corruption: (
            [number(run, 'corruptions', corruption) for run in runs.results.values()],
            [str(row['corruptions'][corruption]) for row in published.values()],
        )
        for corruption in all_keys(runs.results, 'corruptions')
    }
    averages = [str(row['average']) for row in published.values()]
    rows['mean'] = ([number(run, 'mPC') for run in runs.results.values()], averages)
    about = (
        'The shaded columns, their mean included, are Table IV of the paper as printed: mIoU on the 500 validation '
        'pictures of Cityscapes. They were not measured here, and compare with the other columns only if those are of '
        'the same pictures.'
    )
    found = published_table(runs.keys(' (measured)'), published, rows)
    return element('h3', 'Published, not measured here'), element('p', about), found
