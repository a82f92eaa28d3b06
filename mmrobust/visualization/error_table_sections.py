"""What the classification page says of errors that stand side by side: of ImageNet variants, and of attacks."""

from collections.abc import Iterable, Mapping
from typing import Any

from mmrobust.visualization.comparison import Comparison
from mmrobust.visualization.html_elements import Html, bar_cell, element, number_cell, table
from mmrobust.visualization.robustness_numbers import all_keys, at, ends, finite_items, number


def error_table_sections(runs: Comparison, what: str, about: str = '') -> Iterable[Html]:
    """Error and accuracy of each cell, and the change of the error against the reference.

    Args:
        runs: the runs.
        what: what a cell is, such as ``'attack'``.
        about: more to say of the numbers.
    """
    found, rows = list(runs.results.values()), []
    for cell in all_keys(runs.results, 'cells'):
        errors = [number(run, 'cells', cell, 'error') for run in found]
        accuracies = [_accuracy(at(run, 'cells', cell)) for run in found]
        rows.append(
            [
                cell,
                counts(at(run, 'cells', cell, 'num_images') for run in found),
                *(
                    number_cell(error, ends(run, 'cells', cell, 'error_interval'))
                    for error, run in zip(errors, found, strict=True)
                ),
                *(number_cell(number(one, 'value'), ends(one, 'interval')) for one in accuracies),
                bar_cell(dict(zip((runs.places[name] for name in runs.results), errors, strict=True))),
            ]
        )
    header = [what, 'pictures', *runs.headings('error'), *runs.headings('accuracy')]
    yield element('p', f'Top-1 error, lower is better, and accuracy, which is 100 - error. {about}')
    yield table([*header, element('th', 'error, 0 to 100', class_='text')], rows)
    if runs.others:
        changes = [
            [cell, *(runs.change(name, 'cells', cell, 'error') for name in runs.others)]
            for cell in all_keys(runs.results, 'cells')
        ]
        yield element('h3', f'Change against {runs.reference}')
        yield element('p', 'Points of error; - is better.')
        yield table([what, *(runs.key(name) for name in runs.others)], changes)


def counts(values: Iterable[Any]) -> str | None:
    """How many pictures or videos, the same for all runs or not; None if nobody says."""
    return ' / '.join(dict.fromkeys(str(value) for value in values if value is not None)) or None


def _accuracy(cell: Any) -> Mapping[str, Any]:
    error = number(cell, 'error')
    interval = finite_items(cell, 'error_interval')
    return {
        'value': None if error is None else 100 - error,
        'interval': [None if end is None else 100 - end for end in reversed(interval)],
    }
