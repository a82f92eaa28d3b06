"""Numbers of several robustness runs side by side, whatever may be missing in some of them."""

from collections.abc import Mapping
from typing import Any

from mmrobust.evaluation.functional import corruption_degradation
from mmrobust.visualization.html_elements import finite

_PROTOCOL = ('num_images', 'seed', 'profile')  # of the provenance; the cells come from the results themselves


def protocol_differences(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What of the protocol (cells, number of pictures, seed, profile) is not the same in all runs, a phrase each."""
    phrases = []
    cells = {name: set(run['results']['cells']) for name, run in runs.items()}
    if any(found != next(iter(cells.values())) for found in cells.values()):
        common = set.intersection(*cells.values())
        listed = ', '.join(f'{len(found)} in {name}' for name, found in cells.items())
        phrases.append(f'cells ({listed}, {len(common)} in common)')
    for field in _PROTOCOL:
        values = {name: run.get('provenance', {}).get(field) for name, run in runs.items()}
        if any(value != next(iter(values.values())) for value in values.values()):
            phrases.append(f'{field} ({", ".join(f"{value} in {name}" for name, value in values.items())})')
    return phrases


def number(values: Mapping, *path: str) -> float | None:
    """A number from nested mappings; None if it is absent or not finite."""
    found: Any = values
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return finite(found)


def all_keys(results: Mapping, section: str) -> list[str]:
    """Keys of a section in any of the runs, in the order of their first appearance."""
    return list(dict.fromkeys(name for run in results.values() for name in run.get(section, {})))


def cell_values(run: Mapping) -> dict[tuple[str, int], float | None]:
    """mIoU in percent of (corruption, severity)."""
    parts = {name: name.rpartition('_') for name in run['cells']}
    return {(parts[name][0], int(parts[name][2])): number(cell, 'mIoU') for name, cell in run['cells'].items()}


def all_severities(results: Mapping) -> list[int]:
    """Severities that any run has, ascending."""
    return sorted({level for run in results.values() for _, level in cell_values(run)})


def interval(ends: Any) -> str | None:
    """Two ends as text; None unless both are finite numbers."""
    found = [finite(end) for end in ends or ()]
    return f'{found[0]:.2f} to {found[1]:.2f}' if len(found) == 2 and None not in found else None


def mean(by_corruption: Mapping[str, float]) -> float | None:
    """Mean over corruptions, None of nothing."""
    return sum(by_corruption.values()) / len(by_corruption) if by_corruption else None


def degradation_of(results: Mapping, name: str, reference: str | None) -> dict[str, float]:
    """CD in percent of each corruption; empty without a reference, of other cells, or with a cell that has no value."""
    if reference is None:
        return {}
    cells, base = cell_values(results[name]), cell_values(results[reference])
    if set(cells) != set(base) or None in (*cells.values(), *base.values()):
        return {}
    try:
        return corruption_degradation(cells, base)
    except ZeroDivisionError:  # the reference makes no error at all under some corruption
        return {}
