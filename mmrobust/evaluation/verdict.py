"""Verdict of a results page in words: what was run, the drop from clean, the worst conditions, what differs."""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from mmrobust.evaluation import report
from mmrobust.evaluation.comparison import change, is_significant, ran_the_same
from mmrobust.evaluation.report import Column, Number, Report, Table

DASH = '\N{EN DASH}'
FEW = 100  # images; with fewer no difference can be trusted
ONE_RUN = 'Each model is one training run; the intervals say nothing about training again with another seed.'
_TOP = 3  # worst conditions and classes that are named

# a number as text
shown = functools.partial(report.shown, dash=DASH)

# name of a run to its report, all of one benchmark
Runs = Mapping[str, Report]


def facts(runs: Runs, held: Mapping[int, Collection[str]]) -> Iterator[str]:
    """Line on what was run: images, conditions, severities, settings shared by all runs.

    Args:
        runs: all of one benchmark.
        held: severity to the conditions that were run at it.
    """
    layout = next(iter(runs.values())).layout
    numbers = {tuple(sorted(_num_images(run))) for run in runs.values()}
    if len(numbers) == 1 and (of_cells := numbers.pop()):
        most = _counted(of_cells[-1], layout.unit) + ' a cell' * (len(of_cells) > 1)
        yield most if of_cells[0] == of_cells[-1] else f'{of_cells[0]:,} to {most}'
    table = layout.table('conditions')
    if table is not None:
        yield _counted(len(_conditions(runs, table)), table.row)
    if any(held):
        every = set().union(*held.values())
        part = [level for level, names in held.items() if set(names) != every]
        remark = f' ({listed(part)} not of all)' if part else ''
        yield f'{"severity" if len(held) == 1 else "severities"} {listed(held)}{remark}'
    for name in (*layout.protocol, 'data_root', 'trained_on'):
        values = {str(run.setting(name)) for run in runs.values()}
        if name != 'num_images' and len(values) == 1 and values != {'None'}:
            yield f'{name.replace("_root", " in").replace("_", " ")} {values.pop()}'
    yield _counted(len(runs), 'model')


def verdict(runs: Runs, reference: str | None) -> Iterator[str]:
    """The number that answers, or its change against a reference, and what is worst."""
    base = runs.get(reference) if reference is not None else None
    several = len(runs) > 1
    for name, run in runs.items():
        if base is None or not several:
            yield (f'{name}: ' if several else '') + _level(run)
        elif run is not base:
            yield f'{name} against {reference}: {_difference(runs, run, base)}'
    layout = next(iter(runs.values())).layout
    for what, role, place in (('Worst', 'conditions', 0), ('Worst classes', 'classes', -1)):
        table = layout.table(role)
        if table is None:
            continue
        column, rows = table.columns[place], [row for row in _named(runs, table) if row != 'clean']
        found = {row: mean(values_of(runs, table, row, column)) for row in rows}
        worst = [f'{row} {value:.1f}' for row, value in found.items() if value is not None][:_TOP]
        if len(worst) > (role == 'classes'):
            yield f'{what}: {", ".join(worst)}{", mean of the models" if several else ""}.'


def warning(runs: Runs) -> str:
    """Remarks on what the intervals do not cover, and on too few images."""
    return ' '.join(filter(None, (too_few(runs), ONE_RUN)))


def too_few(runs: Runs) -> str:
    """Remark on too few images; empty where there are enough."""
    numbers = [number for run in runs.values() for number in _num_images(run)]
    unit = next(iter(runs.values())).layout.unit
    return f'{_counted(min(numbers), unit)} only: too few for a verdict.' if min(numbers, default=FEW) < FEW else ''


def listed(numbers: Iterable[int]) -> str:
    """``1, 2, 3``."""
    return ', '.join(map(str, numbers))


def rows_by_harm(runs: Runs, table: Table) -> list[str]:
    """Rows of a table in any of the runs, worst first, those that are in no mean last."""
    names = list(dict.fromkeys(row for run in runs.values() for row in run.own_rows(table)))
    if table.role in ('grid', 'severities'):
        return names
    column = table.columns[-1 if table.role == 'classes' else 0]
    sign = -1 if column.better == 'lower' else 1
    means = {row: mean(values_of(runs, table, row, column)) for row in names}
    return sorted(names, key=lambda row: (row in table.apart, means[row] is None, sign * (means[row] or 0)))


def plus(value: float | None, decimals: int = 2) -> str:
    """A number with its sign, except for what rounds to 0, or a dash for None."""
    text = DASH if value is None else f'{value:+.{decimals}f}'
    return text[1:] if value is not None and float(text) == 0 else text


def ends(number: Number, show: Callable[[float], str] = shown, around: str = '{}') -> str:
    """Both ends of an interval, with ``around`` them; empty if there is none."""
    return '' if number.low is None else around.format(f'{show(number.low)} to {show(number.high)}')


def signed(number: Number) -> str:
    """A change and its interval."""
    return plus(number.value) + ends(number, plus, ' ({})')


def measure(key: str) -> str:
    """What the number of a column is, ``mIoU`` of ``cells/clean/mIoU`` and ``mPC``: others have no difference."""
    return 'mIoU' if key == 'mPC' else key.rpartition('/')[2].rpartition('_')[2]


def _level(run: Report) -> str:
    column = next((column for column in run.headline.columns if column.key == run.layout.main), None)
    if column is None:
        return f'{DASH}.'
    number, clean = run.number(run.headline, '', column), run.first(run.layout.clean).value
    text = f'{column.title} {shown(number.value)}{ends(number, around=" ({})")}'
    same = measure(run.layout.clean) == measure(run.layout.main) and run.layout.clean != run.layout.main
    if None not in (number.value, clean) and same:
        gap = number.value - clean
        text += f', {abs(gap):.2f} points {"above" if gap > 0 else "below"} clean images ({clean:.2f})'
    return f'{text}.'


def _difference(runs: Runs, run: Report, base: Report) -> str:
    column = next((column for column in base.headline.columns if column.key == base.layout.main), None)
    if column is None or not ran_the_same(run, base):
        return 'the two did not run the same cells.'
    whole, table = change(run, base, base.headline, '', column), base.layout.table('conditions')
    text = f'{column.title} {signed(whole)}'
    if whole.value is None:
        text += ', which cannot be compared.'
    elif whole.low is None:
        text += '; no interval, because the images are not known to be the same, or are of one sequence.'
    else:
        text += f', {_judged(whole, column)}.'
    if table is None:
        return text
    of = table.columns[0]
    found = {row: change(run, base, table, row, of) for row in _named(runs, table)}
    found = {row: number for row, number in found.items() if number.value is not None}
    if all(number.low is None for number in found.values()):
        return text + (f' Largest changes: {_listed(found)}.' if found else '')
    counted = _counted(len(found), table.row)
    sure = {row: number for row, number in found.items() if is_significant(number)}
    if not sure:
        return f'{text} Of {counted}, none by itself differs significantly.'
    parts = []
    for word in ('better', 'worse'):
        some = {row: number for row, number in sure.items() if _judged(number, of).split()[1] == word}
        most = 'most: ' if len(some) > _TOP else ''
        listed = f'{len(some)} significantly {word} ({most}{_listed(some)})'
        parts.append(listed if some else f'none significantly {word}')
    return f'{text} Of {counted}, each by itself: {"; ".join(parts)}; the others do not differ significantly.'


def _conditions(runs: Runs, table: Table) -> list[str]:
    """Rows by harm, without clean images, and without the worst case over several attacks, which is none of its own."""
    return [row for row in rows_by_harm(runs, table) if row != 'clean' and not row.startswith('worst_')]


def _judged(number: Number, column: Column) -> str:
    if not is_significant(number):
        return 'no significant difference'
    better = (number.value < 0) == (column.better == 'lower')
    return f'significantly {"better" if better else "worse"} on these images'


def _listed(found: Mapping[str, Number]) -> str:
    """The largest changes."""
    largest = sorted(found, key=lambda row: -abs(found[row].value))[:_TOP]
    return ', '.join(f'{row} {plus(found[row].value)}' for row in largest)


def _named(runs: Runs, table: Table) -> list[str]:
    """Conditions that are in a mean, by harm."""
    return [row for row in _conditions(runs, table) if row not in table.apart]


def values_of(runs: Runs, table: Table, row: str, column: Column) -> list[float]:
    """A number of each run that has it."""
    found = [run.number(table, row, column).value for run in runs.values()]
    return [value for value in found if value is not None]


def mean(values: Collection[float]) -> float | None:
    """None if there is no value."""
    return sum(values) / len(values) if values else None


def _num_images(run: Report) -> list[int]:
    """How many images each cell has; one number where all have the same images."""
    found = run.provenance.get('num_images')
    numbers = list(found.values()) if isinstance(found, Mapping) else [found]
    return [number for number in numbers if type(number) is int]


def _counted(number: int, what: str) -> str:
    return f'{number:,} {what}' + ('' if number == 1 else 's')
