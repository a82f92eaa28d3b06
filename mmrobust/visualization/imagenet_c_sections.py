"""What the classification page says of ImageNet-C."""

from collections.abc import Iterable, Mapping
from typing import Any

from mmrobust.corruptions import GROUPS, SEVERITIES
from mmrobust.visualization.comparison import Comparison
from mmrobust.visualization.corruption_grids import Measure, severity_curves, severity_differences, severity_heat
from mmrobust.visualization.html_elements import Html, bar_cell, element, number_cell, published_table, table
from mmrobust.visualization.robustness_numbers import all_keys, at, ends, number

_ERROR = Measure('error', 'Top-1 error', 'clean_error', ('error',), lower_is_better=True)
_HEADLINE = {'clean_error': 'clean error', 'mCE': 'mCE', 'relative_mCE': 'relative mCE', 'mean_error': 'mean error'}
_OF_NETWORK = ('mCE', 'relative_mCE')  # compared only between runs whose CE is relative to the same network
_KINDS = {'CE': 'CE', 'relative_CE': 'relative CE'}
_ABOUT = (
    'Error is the top-1 error. CE of a corruption is the sum of its errors over the severities, over that of a fixed '
    'network; relative CE has the clean error taken off each. mCE, relative mCE and mean error are the means over the '
    '15 corruptions.'
)
_BY_CORRUPTION = (
    'Error is the mean over the severities that were run. CE needs all 5 of them and a network to be relative to.'
)
_SOURCES = {
    'official': 'The corrupted pictures are the official JPEGs',
    'on the fly': 'The corrupted pictures were made on the fly, without the JPEG step of the official ones: these '
    'numbers must not be compared with published ones',
}
_UNKNOWN_SOURCE = 'It is not recorded whether the corrupted pictures are the official JPEGs'
_CORRUPTIONS = [corruption for names in GROUPS.values() for corruption in names]
_CELLS = {f'{corruption}_{level}' for corruption in _CORRUPTIONS for level in SEVERITIES}


def imagenet_c_sections(
    runs: Comparison, sources: Mapping[str, str | None], published: Mapping[str, Mapping]
) -> Iterable[Html]:
    """Headline, then each part under a heading.

    Args:
        runs: the runs.
        sources: name of each run to where its corrupted pictures come from, ``'official'`` or ``'on the fly'``.
        published: as in :func:`mmrobust.visualization.classification_page.classification_page`.
    """
    benchmark, extra = _corruptions(runs)
    yield from _headline(runs, sources)
    yield element('h3', 'By corruption')
    yield element('p', _BY_CORRUPTION)
    yield _by_corruption(runs, benchmark)
    if extra:
        yield element('h3', 'Extra corruptions, in no mean')
        yield element('p', 'ImageNet-C keeps them for validation; they are in none of the means on this page.')
        yield _by_corruption(runs, extra)
    labels = {name: name for name in benchmark} | {name: f'{name} (extra)' for name in extra}
    for part in (severity_curves, severity_heat, severity_differences):
        yield from part(runs, _ERROR, labels)
    yield from _published(runs, sources, published)


def _corruptions(runs: Comparison) -> tuple[list[str], list[str]]:
    """Those of the benchmark, and the extra ones."""
    names = all_keys(runs.results, 'corruptions')
    extra = [name for name in names if any(at(run, 'corruptions', name, 'extra') for run in _all(runs))]
    return [name for name in names if name not in extra], extra


def _all(runs: Comparison) -> list[Mapping]:
    return list(runs.results.values())


def _headline(runs: Comparison, sources: Mapping[str, str | None]) -> Iterable[Html]:
    rows = [
        [runs.key(name), *(number_cell(number(run, of), ends(run, f'{of}_interval')) for of in _HEADLINE)]
        for name, run in runs.results.items()
    ]
    networks = {name: run.get('normalised_by') for name, run in runs.results.items()}
    said = [_SOURCES.get(source, _UNKNOWN_SOURCE) + of for source, of in _grouped(sources)]
    said += [
        f'CE is relative to {network}{of}' if network else f'There is no network that CE could be relative to{of}'
        for network, of in _grouped(networks)
    ]
    yield element('p', _ABOUT)
    yield element('p', *(f'{sentence}. ' for sentence in said))
    yield table(['run', *_HEADLINE.values()], rows)
    reasons = _reasons(runs)
    if reasons:
        yield element('p', 'A dash: ', '; '.join(reasons), '.')
    if runs.others:
        changes = [[runs.key(name), *(_change(runs, name, of) for of in _HEADLINE)] for name in runs.others]
        yield element('h3', f'Change against {runs.reference}')
        yield element('p', 'Points; - is better. A dash: the run is of other cells, or its CE of another network.')
        yield table(['run', *_HEADLINE.values()], changes)


def _grouped(values: Mapping[str, Any]) -> list[tuple[Any, str]]:
    """Each value once, and which runs have it, in words; no words if all have the same."""
    found: dict[Any, list[str]] = {}
    for name, value in values.items():
        found.setdefault(value, []).append(name)
    return [(value, f' ({", ".join(names)})' if len(found) > 1 else '') for value, names in found.items()]


def _reasons(runs: Comparison) -> list[str]:
    """Why there is no number, once for all runs with the same reason."""
    reasons = {
        'there is no mCE without a network that CE is relative to': lambda run: run.get('normalised_by') is None,
        'there is no mCE, because not all 15 corruptions were run at all 5 severities': lambda run: (
            run.get('normalised_by') is not None and number(run, 'mCE') is None
        ),
        'there is no mean error, because none of the 15 corruptions was run': lambda run: (
            number(run, 'mean_error') is None
        ),
    }
    found = {why: [name for name, run in runs.results.items() if holds(run)] for why, holds in reasons.items()}
    every = len(runs.results)
    return [why + (f' ({", ".join(names)})' if len(names) < every else '') for why, names in found.items() if names]


def _change(runs: Comparison, name: str, of: str) -> Html:
    networks = [run.get('normalised_by') for run in (runs.results[name], runs.base)]
    return element('td', None) if of in _OF_NETWORK and networks[0] != networks[1] else runs.change(name, of)


def _by_corruption(runs: Comparison, names: Iterable[str]) -> Html:
    errors, relative = [], []
    for corruption in names:
        path = ('corruptions', corruption)
        values = {runs.places[name]: number(run, *path, 'error') for name, run in runs.results.items()}
        errors.append([corruption, *values.values(), bar_cell(values)])
        relative.append([corruption, *(number(run, *path, kind) for kind in _KINDS for run in _all(runs))])
    header = ['corruption', *runs.headings('error'), element('th', 'error, 0 to 100', class_='text')]
    tables = [table(header, errors)]
    if any(value is not None for row in relative for value in row[1:]):
        header = ['corruption', *(one for title in _KINDS.values() for one in runs.headings(title))]
        tables.append(table(header, relative))
    return element('div', *tables, class_='beside')


def _published(runs: Comparison, sources: Mapping[str, str | None], published: Mapping[str, Mapping]) -> Iterable[Html]:
    """Only beside runs of the same protocol: CE relative to AlexNet, official pictures, all cells."""
    shown = {
        name: run
        for name, run in runs.results.items()
        if run.get('normalised_by') == 'AlexNet' and sources.get(name) == 'official' and set(run['cells']) >= _CELLS
    }
    if not published or not shown:
        return
    rows = {
        corruption: (
            [number(run, 'corruptions', corruption, 'CE') for run in shown.values()],
            [f'{row["corruptions"][corruption]:.2f}' for row in published.values()],
        )
        for corruption in _CORRUPTIONS
    }
    rows['mCE'] = ([number(run, 'mCE') for run in shown.values()], [str(row['mCE']) for row in published.values()])
    yield element('h3', 'Published, not measured here')
    yield element(
        'p',
        'The shaded columns, their mCE included, are Table 3 of the paper as printed: CE relative to AlexNet on the '
        '50,000 official pictures of each cell. They were not measured here, and compare with the other columns only '
        'if those are of the same pictures.',
    )
    yield published_table([runs.key(name, ' (measured)') for name in shown], published, rows)
