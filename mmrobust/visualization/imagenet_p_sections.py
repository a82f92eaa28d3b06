"""What the classification page says of ImageNet-P."""

from collections.abc import Iterable

from mmrobust.evaluation.functional.perturbation_stability import EXTRA_PERTURBATIONS
from mmrobust.visualization.comparison import Comparison
from mmrobust.visualization.error_table_sections import counts
from mmrobust.visualization.html_elements import Html, element, number_cell, table
from mmrobust.visualization.robustness_numbers import all_keys, at, ends, number

_ABOUT = (
    'Lower is better. FP is the share of compared frames whose prediction differs; FR is FP over that of AlexNet; mFR '
    'is the mean FR of the 10 perturbations. uT5D is how far the five best classes move, 0 to 15; it is not in '
    'percent, and not divided by that of AlexNet. Intervals are over videos instead of pictures.'
)
_NO_MFR = 'A dash: FR is defined at difficulty 1 only, and mFR needs all 10 perturbations there.'


def imagenet_p_sections(runs: Comparison) -> Iterable[Html]:
    """mFR of each run, then each perturbation."""
    header = ['run', 'mFR'] + (['mFR change'] if runs.others else [])
    rows = []
    for name, run in runs.results.items():
        row = [runs.key(name), number_cell(number(run, 'mFR'), ends(run, 'mFR_interval'))]
        rows.append([*row, runs.change(name, 'mFR')] if runs.others else row)
    yield element('p', _ABOUT)
    yield table(header, rows)
    if any(number(run, 'mFR') is None for run in runs.results.values()):
        yield element('p', _NO_MFR)
    names = all_keys(runs.results, 'perturbations')
    extra = [name for name in names if name in EXTRA_PERTURBATIONS]
    yield element('h3', 'By perturbation')
    yield _by_perturbation(runs, [name for name in names if name not in extra])
    if extra:
        yield element('h3', 'Extra perturbations, in no mean')
        yield _by_perturbation(runs, extra)


def _by_perturbation(runs: Comparison, names: Iterable[str]) -> Html:
    flips, others = [], []
    for name in names:
        found = {run: at(results, 'perturbations', name) for run, results in runs.results.items()}
        flips.append(
            [
                name,
                counts(at(one, 'num_videos') for one in found.values()),
                *(
                    number_cell(number(one, 'flip_probability'), ends(one, 'flip_probability_interval'))
                    for one in found.values()
                ),
                *(runs.change(run, 'perturbations', name, 'flip_probability') for run in runs.others),
            ]
        )
        others.append([name, *(number(one, kind) for kind in ('FR', 'uT5D') for one in found.values())])
    header = ['perturbation', 'videos', *runs.headings('FP')]
    if runs.others:
        header += runs.headings('FP change', runs.others)
    tables = table(header, flips), table(['perturbation', *runs.headings('FR'), *runs.headings('uT5D')], others)
    return element('div', *tables, class_='beside')
