"""Report of a check: one JSON and one Markdown file, rewritten after every finding."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmrobust.files import write_whole
from performance.targets import ON_GPU_CHECK, judge

# What they count says something only where all was compared.
_WHOLE_ONLY = ('equality', 'combinations', 'tests')
_KERNELS_SHOWN = 15
_Found = Mapping[str, Mapping[str, Any]]


@dataclass
class PartReport:
    """One part: what became of it, and what it found until then."""

    state: str = 'not run'  # then 'running', and 'done', 'failed in parts', 'failed', 'out of time' or 'skipped'
    seconds: float = 0.0
    limit: float = 0.0
    reason: str = ''  # of any end but 'done'
    found: dict[str, Any] = field(default_factory=dict)

    def end(self, state: str, reason: str) -> None:
        """Say how it ended. A part that went through is not done where a step of it has reported an error."""
        errors = {name: row['error'] for name, row in self.found.items() if isinstance(row, dict) and 'error' in row}
        if errors:
            reason = '\n'.join([*filter(None, [reason]), *(f'{name}:\n{error}' for name, error in errors.items())])
            state = 'failed in parts' if state == 'done' else state
        self.state, self.reason = state, reason


@dataclass
class Report:
    """All parts of a run, in their order.

    Attributes:
        folder: of ``gpu_check.json`` and ``gpu_check.md``.
        run: what is the same for all: minutes, command, when it began.
        parts: by name.
    """

    folder: Path
    run: dict[str, Any]
    parts: dict[str, PartReport]

    def write(self) -> None:
        """Write both files, each of them whole."""
        write_whole(self.folder / 'gpu_check.json', json.dumps(self.content(), indent=2) + '\n')
        write_whole(self.folder / 'gpu_check.md', self.markdown())

    def content(self) -> dict[str, Any]:
        """Everything, for JSON: numbers that are not finite as text."""
        parts = {name: asdict(part) for name, part in self.parts.items()}
        return _finite({'run': self.run, 'targets': self.targets(), 'parts': parts})

    def targets(self) -> list[dict[str, Any]]:
        """Every target; None for measured and held where it was not measured, and in a dry run, which says nothing."""
        found = {
            name: part.found
            for name, part in self.parts.items()
            if not self.run['dry_run'] and (name not in _WHOLE_ONLY or part.state in ('done', 'failed in parts'))
        }
        return judge(ON_GPU_CHECK, found, missing=True)

    def markdown(self) -> str:
        """The report as Markdown, targets first."""
        title = 'Dry run of the check on a GPU: tiny sizes, no figures' if self.run['dry_run'] else 'Check on a GPU'
        found = {name: part.found for name, part in self.parts.items()}
        listed = ', '.join(f'{name} {value}' for name, value in found.get('environment', {}).items())
        chapters = [
            f'# {title}',
            f'{self.run["started"]}, `{self.run["command"]}`, {self.run["minutes"]:g} minutes.\n'
            f'{listed or "Environment unknown"}.',
            '## Targets\n' + _targets(self.targets()),
            '## Parts\n' + _parts(self.parts),
        ]
        for heading, names, chapter in _CHAPTERS:
            lines = chapter(*(found.get(name, {}) for name in names))
            chapters += ['\n'.join([f'## {heading}', *lines])] if lines else []
        return '\n\n'.join([*chapters, *_failures(self.parts)]) + '\n'


def _targets(targets: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for row in targets:
        held = {True: 'held', False: '**missed**', None: 'not measured'}[row['held']]
        rows.append((row['what'], _number(row['measured']), f'{row["relation"]} {row["limit"]:g} {row["unit"]}', held))
    return _table(('what', 'measured', 'target', ''), rows)


def _parts(parts: Mapping[str, PartReport]) -> str:
    rows = [
        (name, part.state, f'{part.seconds:.0f}', f'{part.limit:.0f}', _last_line(part.reason))
        for name, part in parts.items()
    ]
    return _table(('part', 'state', 'seconds', 'limit', 'why'), rows)


def _equality(found: _Found) -> list[str]:
    """The worst case of each operation, dtype and form, and every case that does not hold."""
    if not found:
        return []
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in found.values():
        groups.setdefault((row['op'], row['dtype'], 'compiled' if row['compiled'] else 'eager'), []).append(row)
    rows = []
    for key, cases in groups.items():
        errors = [case['errors'] for case in cases if 'errors' in case]
        gradients = [value for of in errors for name, value in of.items() if name.startswith('gradient')]
        values = [value for of in errors for name, value in of.items() if not name.startswith('gradient')]
        kernels = sorted({kernel for case in cases for kernel in case.get('kernels', ())})
        held = sum(case['held'] for case in cases)
        worst = [f'{max(numbers):.1e}' if numbers else '-' for numbers in (values, gradients)]
        tolerance = f'{cases[0]["tolerance"]:.0e}'
        fell_back = sum(bool(case.get('fell back')) for case in cases)
        ran = f'{len(kernels)} kernels' if kernels else 'none'
        rows.append((*key, *worst, tolerance, f'{held} of {len(cases)}', ran, fell_back))
    header = ('op', 'dtype', 'form', 'value error', 'gradient error', 'allowed', 'held', 'own kernels', 'fell back')
    kernels = sorted({kernel for case in found.values() for kernel in case.get('kernels', ())})
    lines = ['Worst cases, over the largest entry.', '', _table(header, rows)]
    if kernels:
        lines += ['', f'Kernels of this project that ran: {", ".join(kernels)}.']
    failures = {case['failure'] for case in found.values() if case.get('failure')}
    warned = {warning for case in found.values() for warning in case.get('warnings', ())}
    lines += [f'- kernels do not compile: {_last_line(text)}' for text in sorted(failures)]
    lines += [f'- warned: {_last_line(text)}' for text in sorted(warned)]
    return lines + [f'- {name}: {_why_not_equal(case)}' for name, case in found.items() if not case['held']]


def _why_not_equal(case: Mapping[str, Any]) -> str:
    if 'error' in case:
        return _error(case)
    errors = ', '.join(f'{name} {value:.1e}' for name, value in case['errors'].items() if value > case['tolerance'])
    return '; '.join(filter(None, [errors, 'no kernel of this project ran' if case['fell back'] else '']))


def _ops(found: _Found) -> list[str]:
    if not found:
        return []
    times = ('seconds', 'device_seconds')
    rows, failed = [], []
    for name, table in found.items():
        if 'error' in table:
            failed.append(f'- {name}: {_error(table)}')
            continue
        title = table['title']
        for form, row in table['rows'].items():
            numbers = [_number(row[key], 1e3) for key in times]
            numbers += [_number(row['time_ratio']), _number(row['device_ratio']), _number(row['peak_bytes'], 1e-6)]
            rows.append((title, form, *numbers, *(_number(row.get(f'bandwidth by {key}')) for key in times)))
            title = ''
    header = ('what', 'form', 'ms', 'ms of kernels', 'x first', 'kernels x first', 'peak MB', 'of copy bandwidth',
              'kernels, of copy bandwidth')  # fmt: skip
    return [_table(header, rows), *failed]


def _steps(eager: _Found, compiled: _Found) -> list[str]:
    rows, failed = [], []
    for name in dict.fromkeys([*eager, *compiled]):
        for form, found in (('eager', eager), ('compiled', compiled)):
            row = found.get(name, {})
            if 'error' in row:
                failed.append(f'- {name}, {form}: {_error(row)}')
            if 'seconds' not in row:
                continue
            base = found.get(f'{name.partition(",")[0]}, baseline', {})
            numbers = []
            for key, scale in (('seconds', 1e3), ('peak_bytes', 1e-9)):
                numbers += [
                    _number(row[key], scale),
                    _number(row[key] / base[key] if row[key] and base.get(key) else None),
                ]
            rows.append((name, form, *numbers, _number(row.get('compile_seconds'))))
    header = ('step', 'form', 'ms', 'x baseline', 'GB', 'x baseline', 's to compile')
    return [_table(header, rows), *failed] if eager or compiled else []


def _combinations(found: _Found) -> list[str]:
    rows = []
    for name, row in found.items():
        if 'error' in row:
            rows.append((name, '', '', f'**no** {_error(row)}'))
            continue
        errors = zip(('loss error', 'gradient error'), row['tolerances'], strict=True)
        numbers = [f'{row[key]:.1e} (allowed {allowed:g})' for key, allowed in errors]
        rows.append((name, *numbers, 'yes' if row['held'] else '**no** '))
    return [_table(('form', 'loss error', 'gradient error', 'held'), rows)] if rows else []


def _minicity(found: _Found) -> list[str]:
    lines, rows = [], []
    for name, row in found.items():
        if 'error' in row:
            lines.append(f'- {name}: {_error(row)}')
        elif name.startswith('train'):
            losses = ' to '.join(_number(loss) for loss in row['losses'].values())
            rows.append((name, *map(_number, (row['seconds_per_iteration'], row['of these waiting for data'])), losses,
                         row['iterations'], _number(row['wall_seconds'])))  # fmt: skip
    if rows:
        lines.append(_table(('run', 's per iteration', 'waiting for data', 'loss', 'iterations', 's in all'), rows))
    rows = [
        (name, *(_number(row[key]) for key in ('clean_mIoU', 'mPC', 'wall_seconds')))
        for name, row in found.get('evaluate', {}).items()
        if isinstance(row, Mapping)
    ]
    if rows:
        lines += ['', _table(('evaluation', 'clean mIoU', 'mPC', 's in all'), rows)]
    return lines


def _resuming(found: _Found) -> list[str]:
    row = found.get('after SIGTERM')
    if not row:
        return []
    return [
        f'Stopped by SIGTERM after iteration {row["stopped after"]} and resumed: the first three losses differ by '
        f'{row["error of the first three losses"]:.1e} of an undisturbed run at most (allowed {row["tolerance"]:g}), '
        f'all by {row["error of all losses"]:.1e}.'
    ]


def _evaluation(found: _Found) -> list[str]:
    keys = ('seconds_per_image', 'seconds_to_start_a_cell', 'extrapolated_hours', 'loaders')
    rows = [
        (name, *(_number(row.get(key)) for key in keys), row.get('measured') or _error(row))
        for name, row in found.items()
    ]
    header = ('form', 's per image', 's to start a cell', 'hours for all, extrapolated', 'loaders', 'measured')
    return [_table(header, rows)] if rows else []


def _tests(found: _Found) -> list[str]:
    lines = []
    for row in found.values():
        counts = ', '.join(f'{row[name]} {name}' for name in ('passed', 'failed', 'skipped'))
        lines.append(f'{counts} in {row["seconds"]:.0f} s, besides {row["waited"]:.0f} s of waiting.')
        lines += [f'- {name}: {_last_line(text)}' for name, text in row['failures'].items() if text]
        lines += ['', _table(('slowest', 's'), ((name, f'{took:.1f}') for name, took in row['slowest'].items()))]
    return lines


def _profiles(found: _Found) -> list[str]:
    """Those of the largest batch; JSON has the others."""
    lines = []
    profiles = {name: row['profile'] for name, row in found.items() if row.get('profile')}
    largest = max(map(_batch, profiles), default=0)
    for name, profile in profiles.items():
        if _batch(name) < largest:
            continue
        total = profile['seconds']
        rows = [
            (f'`{kernel["name"][:90]}`', kernel['calls'], f'{1e3 * kernel["seconds"]:.2f}',
             f'{kernel["seconds"] / total:.1%}' if total else '-')
            for kernel in profile['kernels'][:_KERNELS_SHOWN]
        ]  # fmt: skip
        own = ', '.join(profile['own']) or 'none'
        head = f'{profile["launches"]} launches, {1e3 * total:.1f} ms of kernels; kernels of this project: {own}.'
        lines += ['', f'### {name}, compiled', head, '', _table(('kernel', 'launches', 'ms', 'share'), rows)]
    return lines


def _batch(name: str) -> int:
    """Of ``'batch 8, baseline'``."""
    return int(name.split(',')[0].split()[1])


def _failures(parts: Mapping[str, PartReport]) -> list[str]:
    chapters = [
        f'### {name}: {part.state}\n```\n{part.reason}\n```'
        for name, part in parts.items()
        if part.state in ('failed in parts', 'failed', 'out of time')
    ]
    return ['## Failures', *chapters] if chapters else []


_CHAPTERS: tuple[tuple[str, tuple[str, ...], Callable[..., list[str]]], ...] = (
    ('Equality with the plain formula', ('equality',), _equality),
    ('Operations', ('ops',), _ops),
    ('Training steps, FAN-B-Hybrid, 1024 crop, bfloat16, no optimizer', ('steps', 'compiled'), _steps),
    ('A small FAN beside eager float32', ('combinations',), _combinations),
    ('MiniCity', ('minicity',), _minicity),
    ('MiniCity, resumed', ('resuming',), _resuming),
    ('Evaluation of 2048 x 1024 images under corruption', ('evaluation',), _evaluation),
    ('Tests that need a GPU', ('tests',), _tests),
    ('Profiles: the longest kernels of a step', ('compiled',), _profiles),
)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    cells = [[str(cell).replace('|', '\\|') for cell in row] for row in rows]
    lines = ['| ' + ' | '.join(row) + ' |' for row in [list(header), *cells]]
    return '\n'.join([lines[0], '|' + '---|' * len(header), *lines[1:]])


def _number(value: float | None, scale: float = 1) -> str:
    if value is None:
        return '-'
    value *= scale
    return f'{value:.3g}' if abs(value) < 1000 else f'{value:.0f}'


def _error(row: Mapping[str, Any]) -> str:
    """The last line of a traceback."""
    return row['error'].splitlines()[-1]


def _last_line(text: str, length: int = 160) -> str:
    line = text.strip().splitlines()[-1] if text.strip() else ''
    return line if len(line) <= length else f'{line[:length]} ...'


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
