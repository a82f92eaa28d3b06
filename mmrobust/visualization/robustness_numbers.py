"""Numbers of several robustness runs side by side, whatever may be missing in some of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmrobust.evaluation.functional import corruption_degradation, interval
from mmrobust.evaluation.protocols import Cell
from mmrobust.visualization.html_elements import finite

# section that says what was run, and what else of the provenance or the results must be the same in all runs
_PROTOCOLS = {
    'Cityscapes-C': ('cells', ('num_images', 'seed', 'profile')),
    'ACDC': ('conditions', ('split', 'num_images')),
    'ImageNet-C': ('cells', ('corrupted', 'normalised_by', 'num_images', 'seed')),
    'ImageNet variants': ('cells', ('num_images',)),
    'Attacks': ('cells', ('eps', 'step_size', 'num_steps', 'seed', 'num_images')),
    'ImageNet-P': ('perturbations', ('difficulty', 'num_images')),
}

# what a page goes through name by name
_SECTIONS = ('cells', 'classes', 'conditions', 'corruptions', 'groups', 'perturbations', 'severities')
# what a page groups runs by
_TEXTS = (('results', 'normalised_by'), ('provenance', 'corrupted'))


def check_content(content: Any) -> None:
    """Refuse a results.json that no page can show; a number that is wrong or missing is no reason.

    Raises:
        ValueError: a section of it is not by name, or what must be a text is something else.
    """
    found = [('results', name) for name in _SECTIONS if name in (at(content, 'results') or ())]
    for path in [('results',), *([('provenance',)] if 'provenance' in content else []), *found]:
        if not isinstance(at(content, *path), Mapping):
            raise ValueError(f'{" / ".join(path)} must hold values by name, got {str(at(content, *path))[:80]!r}')
    for path in _TEXTS:
        if not isinstance(at(content, *path), str | None):
            raise ValueError(f'{" / ".join(path)} must be a text or null, got {str(at(content, *path))[:80]!r}')


def protocol_differences(benchmarks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """What of the protocol is not the same in all runs of a benchmark, a phrase each.

    Args:
        benchmarks: title of a benchmark to its runs, name to the content of a results.json. What is compared is what
            was run, and what decides the numbers. A name that is in several benchmarks is of one checkpoint.
    """
    phrases = []
    for title, runs in benchmarks.items():
        of = '' if title == 'Cityscapes-C' else f'{title} '
        phrases += [f'{of}{phrase}' for phrase in _differences(runs, *_PROTOCOLS[title])]
    for name in dict.fromkeys(name for runs in benchmarks.values() for name in runs):
        hashes = {
            title: at(runs[name], 'provenance', 'checkpoint_sha256')
            for title, runs in benchmarks.items()
            if name in runs
        }
        if len(set(map(str, hashes.values()))) > 1:
            listed = ', '.join(f'{str(found)[:8]} on {title}' for title, found in hashes.items())
            phrases.append(f'checkpoint of {name} ({listed})')
    return phrases


def _differences(runs: Mapping, parts: str, fields: tuple[str, ...]) -> list[str]:
    phrases = []
    found = {name: set(run['results'][parts]) for name, run in runs.items()}
    if len({frozenset(names) for names in found.values()}) > 1:
        common = set.intersection(*found.values())
        listed = ', '.join(f'{len(names)} in {name}' for name, names in found.items())
        phrases.append(f'{parts} ({listed}, {len(common)} in common)')
    for field in (*fields, 'precision'):
        values = {
            name: {'precision': 'float32', **run['results'], **run.get('provenance', {})}.get(field)
            for name, run in runs.items()
        }
        for label, same in _unfolded(field, values).items():
            if any(value != next(iter(same.values())) for value in same.values()):
                phrases.append(f'{label} ({", ".join(f"{value} in {name}" for name, value in same.items())})')
    return phrases


def _unfolded(field: str, values: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A field that holds a number for each cell as one field for each cell that all runs have."""
    if not values or not all(isinstance(value, Mapping) for value in values.values()):
        return {field: values}
    first, *others = values.values()
    common = [cell for cell in first if all(cell in other for other in others)]
    return {f'{field} of {cell}': {name: value[cell] for name, value in values.items()} for cell in common}


def at(values: Any, *path: str) -> Any:
    """What nested mappings hold at a path, None if it is absent."""
    for name in path:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def number(values: Any, *path: str) -> float | None:
    """A number from nested mappings; None if it is absent or not finite."""
    return finite(at(values, *path))


def finite_items(values: Any, *path: str) -> list[float | None]:
    """The items of a list in nested mappings, None for each that is no finite number; none if there is no list."""
    found = at(values, *path)
    return [finite(value) for value in found] if isinstance(found, Sequence) else []


def all_keys(results: Mapping, section: str) -> list[str]:
    """Keys of a section in any of the runs, in the order of their first appearance."""
    return list(dict.fromkeys(name for run in results.values() for name in run.get(section, {})))


def cell_values(run: Mapping, measure: str = 'mIoU') -> dict[Cell, float | None]:
    """A measure in percent of each cell."""
    return {Cell.of_name(name): number(cell, measure) for name, cell in run['cells'].items()}


def all_severities(results: Mapping) -> list[int]:
    """Severities that any run has, ascending."""
    return sorted({level for run in results.values() for _, level in cell_values(run)})


def ends(values: Any, *path: str) -> str | None:
    """The two ends of an interval in nested mappings, as text; None unless both are finite numbers."""
    found = finite_items(values, *path)
    return f'{found[0]:.2f} to {found[1]:.2f}' if len(found) == 2 and None not in found else None


def difference(value: float | None, base: float | None) -> float | None:
    """By how much a value is above the base; None if there is none of them."""
    return None if value is None or base is None else value - base


def paired_interval(run: Mapping, base: Mapping, name: str) -> tuple[float, float] | None:
    """95% interval of ``run[name] - base[name]`` over bootstrap samples, each of the same pictures for both.

    None unless ``bootstrap`` has as many finite samples in both, of the same pictures (``images_sha256``).
    """
    pictures = at(run, 'bootstrap', 'images_sha256')
    samples = [finite_items(one, 'bootstrap', name) for one in (run, base)]
    same = pictures and pictures == at(base, 'bootstrap', 'images_sha256') and len(samples[0]) == len(samples[1])
    if not same or not samples[0] or None in samples[0] + samples[1]:
        return None
    return interval(np.subtract(*samples))


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
