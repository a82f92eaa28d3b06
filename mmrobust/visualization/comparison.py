"""The runs of one benchmark beside each other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmrobust.visualization.html_elements import Html, element, key, number_cell
from mmrobust.visualization.robustness_numbers import at, difference, number, paired_interval


@dataclass(frozen=True)
class Comparison:
    """Results of one benchmark, and what they are compared with.

    Args:
        results: display name to ``results`` of a ``results.json``.
        places: display name to the place of a run on the page, from 0, of all benchmarks together: it decides colour
            and marker, so that a run looks the same everywhere.
        reference: run that differences are against; None without one, or if it has no results of this benchmark.
        parts: section of the results whose keys say what was run, such as ``'cells'``.
    """

    results: Mapping[str, Mapping[str, Any]]
    places: Mapping[str, int]
    reference: str | None
    parts: str

    @property
    def others(self) -> list[str]:
        """Runs beside the reference; none without one."""
        return [name for name in self.results if self.reference is not None and name != self.reference]

    @property
    def comparable(self) -> list[str]:
        """Those of the others that ran the same as the reference."""
        return [name for name in self.others if set(self.results[name][self.parts]) == set(self.base[self.parts])]

    @property
    def base(self) -> Mapping[str, Any]:
        """Results of the reference."""
        return self.results[self.reference]

    def key(self, name: str, suffix: str = '') -> Html:
        """Name of a run with its colour and marker."""
        return key(self.places[name], name, suffix)

    def keys(self, suffix: str = '') -> list[Html]:
        """Names of all runs with their colours and markers."""
        return [self.key(name, suffix) for name in self.results]

    def headings(self, below: str, names: Iterable[str] | None = None) -> list[Html]:
        """Headings of columns: each run, or each of these, and below it what its numbers are."""
        return [element('th', self.key(name), element('div', below), scope='col') for name in names or self.results]

    def change(self, name: str, *path: str) -> Html:
        """Cell of a table: by how much a value of a run is above that of the reference, and the paired interval.

        A value of a single part is compared wherever both runs have it; one over all parts only if they ran the same.
        """
        if name not in (self.comparable if len(path) == 1 else self.others):
            return element('td', None)
        *section, value = path
        run, base = (at(results, *section) for results in (self.results[name], self.base))
        gap = difference(number(run, value), number(base, value))
        found = paired_interval(run, base, value)
        return number_cell(
            None if gap is None else f'{gap:+.2f}', None if found is None else '{:+.2f} to {:+.2f}'.format(*found)
        )
