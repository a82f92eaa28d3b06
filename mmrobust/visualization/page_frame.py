"""What every page of robustness results has: how it begins, what its colours are, where its numbers come from."""

from collections.abc import Iterable, Mapping
from typing import Any

from mmrobust.visualization.comparison import Comparison
from mmrobust.visualization.html_elements import Html, document, element, key, table
from mmrobust.visualization.robustness_numbers import protocol_differences

# title of a benchmark to its runs, display name to the content of a results.json
Benchmarks = Mapping[str, Mapping[str, Mapping[str, Any]]]

_LEGEND = (
    'All numbers are in percent. The range below a number is its 95% interval, from bootstrap: the pictures are drawn '
    'again with replacement, the model stays as it is. It says how far the number depends on which pictures were '
    'taken, and nothing about training again with another seed.'
)
_PAIRED = (
    ' The interval of a change is paired, because in each draw both runs have the same pictures; there is none if the '
    'runs are not of the same pictures.'
)


def places_of(benchmarks: Benchmarks, reference: str | None) -> dict[str, int]:
    """Place of each run on the page, from 0; a name that is in several benchmarks is one model, and has one place.

    Raises:
        ValueError: there is no run, or none is called like the reference.
    """
    places = {
        name: place for place, name in enumerate(dict.fromkeys(of for runs in benchmarks.values() for of in runs))
    }
    if not places:
        raise ValueError('a page needs one run at least, got none')
    if reference is not None and reference not in places:
        raise ValueError(f'the reference must be one of {", ".join(places)}, got {reference!r}')
    return places


def compare(runs: Mapping, places: Mapping[str, int], reference: str | None, parts: str) -> Comparison:
    """The runs of one benchmark, against the reference if it is among them."""
    results = {name: content['results'] for name, content in runs.items()}
    return Comparison(results, places, reference if reference in results else None, parts)


def opening(title: str, benchmarks: Benchmarks, reference: str | None, about: str = '') -> Iterable[Html]:
    """Heading, what the numbers are, and a warning if the runs are of different protocols."""
    yield element('h1', title)
    yield element('p', _LEGEND + (_PAIRED if reference is not None else '') + about)
    differences = protocol_differences(benchmarks)
    if differences:
        yield element('p', f'These runs differ in {"; ".join(differences)}.', class_='warning')


def provenance(benchmarks: Benchmarks, places: Mapping[str, int]) -> Iterable[Html]:
    """Everything that is known of how the runs came about."""
    yield element('h2', 'Protocol and provenance')
    for title, runs in benchmarks.items():
        found = [dict(_flat(run.get('provenance', {}))) for run in runs.values()]
        rows = [
            [name, *(element('td', values.get(name), class_='text') for values in found)]
            for name in dict.fromkeys(name for values in found for name in values)
        ]
        header = ['', *(element('th', key(places[name], name), class_='text') for name in runs)]
        yield element('h3', title)
        yield table(header, rows)


def page(title: str, body: Iterable[Any]) -> str:
    """The whole page as ASCII text; other characters are written as character references."""
    return f'{document(title, body)}\n'.encode('ascii', 'xmlcharrefreplace').decode()


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
