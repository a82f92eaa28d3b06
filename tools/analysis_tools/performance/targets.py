"""Targets of speed and memory, and whether a run held them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

BYTES_OF_TAP = 448 * 64 * 64 * 4  # one activation of the measured shape, in float32
LOADERS_PER_GPU = 16  # processes that load images for one GPU


class Target(NamedTuple):
    """One promise."""

    what: str
    relation: str  # '<=' or '>='
    limit: float
    unit: str
    value: Callable[[Mapping[str, Any]], float]  # of the parts of a run; KeyError where they were not measured


def _step(crop: int, reference: str, form: str, number: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda parts: parts['step']['tables'][f'{crop}, beside {reference}']['forms'][form][number]


def _adl(reference: str, number: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda parts: parts['adl']['tables'][f'N = 4096, beside {reference}']['forms']['ours'][number]


def _tap(form: str, number: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda parts: parts['tap']['forms'][form][number]


ROBUST, WITH_CP = 'TAP + ADL', 'TAP + ADL, with_cp'
ON_CPU = (
    Target('TAP, eager', '>=', 12, 'times as fast as released', lambda parts: 1 / _tap('ours', 'time_ratio')(parts)),
    Target('TAP, compiled', '>=', 30, 'times as fast as released',
           lambda parts: 1 / _tap('ours compiled', 'time_ratio')(parts)),
    Target('TAP, memory beside its output and gradient', '<=', 3, 'activations',
           lambda parts: _tap('ours', 'peak_bytes')(parts) / BYTES_OF_TAP - 2),
    Target('ADL and attention, time', '<=', 0.15, 'x released', _adl('released', 'time_ratio')),
    Target('ADL and attention, time', '<=', 1.7, 'x attention alone', _adl('attention alone', 'time_ratio')),
    Target('ADL and attention, memory', '<=', 1.1, 'x attention alone', _adl('attention alone', 'memory_ratio')),
    Target('training step at 768, time', '<=', 0.4, 'x released', _step(768, 'released', ROBUST, 'time_ratio')),
    Target('training step at 768, memory', '<=', 0.4, 'x released', _step(768, 'released', ROBUST, 'memory_ratio')),
    Target('the same with with_cp, memory', '<=', 0.2, 'x released', _step(768, 'released', WITH_CP, 'memory_ratio')),
    Target('training step at 1024, memory', '<=', 12, 'GB',
           lambda parts: _step(1024, 'baseline', ROBUST, 'peak_bytes')(parts) / 1e9),
    Target('the same with with_cp, memory', '<=', 6, 'GB',
           lambda parts: _step(1024, 'baseline', WITH_CP, 'peak_bytes')(parts) / 1e9),
    Target('prediction with TAP, time', '<=', 1.05, 'x baseline',
           lambda parts: parts['inference']['forms']['TAP']['time_ratio']),
    Target('all corruptions', '>=', 5, 'times as fast as imagecorruptions',
           lambda parts: 1 / parts['corruptions']['forms']['together']['time_ratio']),
    Target(f'loading of the slowest corruption, {LOADERS_PER_GPU} processes', '>=', 1, 'x what an H100 can predict',
           lambda parts: LOADERS_PER_GPU * parts['loading']['slowest'] / parts['loading']['most_predictions']['H100']),
)  # fmt: skip
ON_CUDA = (
    # a copy reads and writes once; TAP reads tokens twice and a gradient once, and writes two results
    Target('TAP', '>=', 0.5, 'of the bandwidth of a copy',
           lambda parts: 5 / 2 * _tap('copy', 'seconds')(parts) / _tap('ours', 'seconds')(parts)),
    Target('ADL and attention, time', '<=', 3, 'x attention alone', _adl('attention alone', 'time_ratio')),
    Target('training step at 1024, time', '<=', 1.25, 'x baseline', _step(1024, 'baseline', ROBUST, 'time_ratio')),
    Target('training step at 1024, memory', '<=', 1.1, 'x baseline', _step(1024, 'baseline', ROBUST, 'memory_ratio')),
    Target('8 crops of 1024, memory', '<=', 80, 'GB',
           lambda parts: _step(1024, 'baseline', ROBUST, 'peak_bytes')(parts) / parts['step']['batch_size'] * 8 / 1e9),
)  # fmt: skip


def _steps(parts: Mapping[str, Any], model: str) -> dict[str, Mapping[str, Any]]:
    """The step of 8 crops in the forms that were measured: eager, compiled."""
    rows = {part: parts.get(part, {}).get(f'batch 8, {model}', {}) for part in ('steps', 'compiled')}
    return {part: row for part, row in rows.items() if 'seconds' in row}


def _fastest_step(parts: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    return min(_steps(parts, model).values(), key=lambda row: row['seconds'], default={})


def _step_beside_baseline(parts: Mapping[str, Any], number: str) -> float:
    """In one form, that in which the baseline is faster; KeyError where TAP + ADL was not measured in it."""
    baseline = _steps(parts, 'baseline')
    form = min(baseline, key=lambda form: baseline[form]['seconds'], default='')
    return _steps(parts, ROBUST)[form][number] / baseline[form][number]


def _op(table: str, row: str, number: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda parts: parts['ops'][table]['rows'][row][number]


def _tap_share_of_step(parts: Mapping[str, Any]) -> float:
    step = _fastest_step(parts, ROBUST)
    return step['blocks'] * _op('TAP, bfloat16', 'ours', 'device_seconds')(parts) / step['seconds']


def _least(part: str, number: str, prefix: str = '') -> Callable[[Mapping[str, Any]], float]:
    """The smallest of a part's findings that have this number; KeyError where none has."""

    def value(parts: Mapping[str, Any]) -> float:
        found = [row[number] for name, row in parts[part].items() if name.startswith(prefix) and number in row]
        return min(found) if found else {}[number]

    return value


def _not_held(part: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda parts: sum(not row['held'] for row in parts[part].values()) if parts[part] else None


# the parts are those of the JSON of tools/analysis_tools/gpu_check.py
ON_GPU_CHECK = (
    Target('baseline step, batch 8, time', '<=', 220, 'ms',
           lambda parts: 1e3 * _fastest_step(parts, 'baseline')['seconds']),
    Target('baseline step, batch 8, memory', '<=', 20, 'GB',
           lambda parts: _fastest_step(parts, 'baseline')['peak_bytes'] / 1e9),
    Target('TAP + ADL step, batch 8, time', '<=', 1.25, 'x baseline',
           lambda parts: _step_beside_baseline(parts, 'seconds')),
    Target('TAP + ADL step, batch 8, memory', '<=', 1.1, 'x baseline',
           lambda parts: _step_beside_baseline(parts, 'peak_bytes')),
    Target('ADL and attention, N = 4096, batch 8', '<=', 2.5, 'x attention alone',
           _op('ADL, batch 8, bfloat16', 'ours', 'time_ratio')),
    Target('ADL and attention, N = 4096, batch 1', '<=', 3, 'x attention alone',
           _op('ADL, batch 1, bfloat16', 'ours', 'time_ratio')),
    Target('TAP, kernels alone, bfloat16', '>=', 0.5, 'of the bandwidth of a copy',
           _op('TAP, bfloat16', 'ours', 'bandwidth by device_seconds')),
    Target('or TAP of all blocks, kernels alone', '<=', 2, '% of a step',
           lambda parts: 100 * _tap_share_of_step(parts)),
    Target('FAN-T, MiniCity, batch 4', '<=', 0.05, 's per iteration',
           _least('minicity', 'seconds_per_iteration', 'train')),
    Target('Cityscapes-C, 72 cells of 500 images, extrapolated', '<=', 1, 'hours',
           _least('evaluation', 'extrapolated_hours')),
    Target('mIoU of the fast evaluation, MiniCity', '<=', 0.05, 'points off float32',
           lambda parts: parts['minicity']['evaluate']['difference']),
    Target('kernels and forms that differ from the formula', '<=', 0, 'cases', _not_held('equality')),
    Target('compile, AMP, with_cp: combinations that differ', '<=', 0, 'cases', _not_held('combinations')),
    Target('resumed after SIGTERM, first losses', '<=', 0.01, 'relative error',
           lambda parts: parts['resuming']['after SIGTERM']['error of the first three losses']),
    Target('tests that need a GPU', '<=', 0, 'failed', lambda parts: parts['tests']['tests']['failed']),
    Target('tests that need a GPU, time', '<=', 90, 's', lambda parts: parts['tests']['tests']['seconds']),
)  # fmt: skip


def judge(targets: tuple[Target, ...], parts: Mapping[str, Any], missing: bool = False) -> list[dict[str, Any]]:
    """Each target with its ``measured`` value and whether it ``held``, of those that a run measured.

    Args:
        targets: :data:`ON_CPU`, :data:`ON_CUDA` or :data:`ON_GPU_CHECK`.
        parts: the parts of the JSON that ``tools/analysis_tools/benchmark.py`` or ``gpu_check.py`` writes.
        missing: also list what was not measured, with None for both.
    """
    found = []
    for target in targets:
        try:
            measured = target.value(parts)
            held = measured <= target.limit if target.relation == '<=' else measured >= target.limit
        except (KeyError, TypeError):  # not measured; or memory that the system does not tell, None
            if not missing:
                continue
            measured = held = None
        row = target._asdict() | {'measured': measured, 'held': held}
        del row['value']
        found.append(row)
    return found
