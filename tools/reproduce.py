"""The paper's tables, published beside measured, and the sizes of what the zoo builds.

python tools/reproduce.py III                                   # a table: 1 to 5, I to IV, STL; none given: all
python tools/reproduce.py 4 IV --results work_dirs/robustness --out tables     # and as Markdown and CSV
python tools/reproduce.py II --row "tau = 3=work_dirs/robustness/fan_tau3"     # a run whose config is another row's
python tools/reproduce.py III --check                           # build the systems, compare parameters and MACs
python tools/reproduce.py --check                               # of the whole zoo

Measured numbers are those of results.json files that tools/evaluate_robustness.py wrote. A run belongs to the row whose
config it was made with; what is not of the paper's protocol, or not of all images, is left out, and the tool says so.
A cell that nobody measured is blank; a dash is the paper's.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile

# isort: split
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmrobust.evaluation.paper_tables import PaperTable, Row, paper_tables
from mmrobust.evaluation.renderers import as_csv
from mmrobust.files import write_whole
from reproduction.entries import ZooEntry, sources, zoo
from reproduction.measured import Measured, read_measured
from reproduction.sizes import TOLERANCE, Comparison, Size, compare, size_of

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
RESULTS = 'results.json'
DEFAULT_RESULTS = 'work_dirs/robustness'
PUBLISHED, MEASURED = 'published', 'measured'
WIDE = 1000  # characters, more than any table needs


@dataclass(frozen=True)
class Page:
    """A table of text, to be shown in a terminal or written to a file."""

    title: str
    header: list[str]
    rows: list[list[str]]
    remarks: list[str]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('tables', nargs='*', metavar='TABLE', help='1 to 5, I to IV, STL (default: all)')
    parser.add_argument(
        '--results',
        nargs='+',
        metavar='DIR',
        help=f'folders with {RESULTS} in them or below (default: {DEFAULT_RESULTS}, if it is there)',
    )
    parser.add_argument(
        '--row',
        action='append',
        default=[],
        metavar='NAME=DIR',
        help='the runs in a folder belong to this row, or to the rows of this config, whatever config made them',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='build the systems and compare parameters and MACs; exit code 1 if any is off',
    )
    parser.add_argument(
        '--out',
        type=cli.output_folder,
        metavar='DIR',
        help='also write table_<TABLE>.md and .csv, and of --check sizes.md and .csv',
    )
    return parser.parse_args(argv)


def choose_tables(names: Sequence[str]) -> list[PaperTable]:
    """The tables of these names, or all.

    Raises:
        ValueError: there is no such table.
    """
    tables = paper_tables()
    for name in names:
        if name not in tables:
            raise ValueError(f'there is no Table {name!r}: choose from {", ".join(tables)}')
    return [tables[name] for name in names or tables]


def find_runs(folder: str | Path) -> list[Measured]:
    """The runs in a folder and below.

    Raises:
        FileNotFoundError: there is no such folder, or no run in it.
        ValueError: a results.json is something else.
    """
    paths = sorted(Path(folder).rglob(RESULTS))
    if not paths:
        raise FileNotFoundError(f'There is no {RESULTS} in {str(folder)!r}: evaluate_robustness.py writes it.')
    return [read_measured(path) for path in paths]


def read_runs(folders: Sequence[str] | None, named: Sequence[str]) -> list[tuple[str, Measured]]:
    """All runs, each with the name of its row, or of the config that stands for it.

    Raises:
        ValueError: ``--row`` is not NAME=DIR, or names no row; a results.json is something else.
        FileNotFoundError: a folder has no runs.
    """
    if folders is None:
        folders = [DEFAULT_RESULTS] if any(Path(DEFAULT_RESULTS).rglob(RESULTS)) else []
    runs = {run.path.resolve(): (run.config, run) for folder in folders for run in find_runs(folder)}
    known = {name for table in paper_tables().values() for row in table.rows for name in (row.name, *row.configs)}
    for item in named:
        name, equals, folder = item.rpartition('=')
        if not equals:
            raise ValueError(f'--row takes NAME=DIR, got {item!r}')
        if name not in known:
            raise ValueError(f'--row: no table has a row or a config {name!r}')
        runs |= {run.path.resolve(): (name, run) for run in find_runs(folder)}
    return list(runs.values())


def measured_of(row: Row, runs: Iterable[tuple[str, Measured]]) -> tuple[dict[str, float], list[str]]:
    """Measured numbers of a row, and remarks.

    Raises:
        ValueError: two runs say different things.
    """
    values, origins, remarks = {}, {}, []
    for name, run in runs:
        if name not in (row.name, *row.configs):
            continue
        for measure in row.values.keys() & run.values.keys():
            if measure in values and abs(values[measure] - run.values[measure]) > 1e-6:
                raise ValueError(
                    f'{origins[measure]} and {run.path} have different numbers of {measure} for the row {row.name!r}: '
                    'give --results with one of them'
                )
            values[measure], origins[measure] = run.values[measure], run.path
        remarks += [f'{run.path}: {remark}' for remark in run.remarks]
    return values, [*(f'{row.name}, measured: {path}' for path in dict.fromkeys(origins.values())), *remarks]


def to_page(table: PaperTable, runs: Iterable[tuple[str, Measured]], sizes: dict[str, Size]) -> Page:
    """A table of the paper with two lines for each system."""
    lines, remarks = [], []
    for row in table.rows:
        values, more = measured_of(row, runs)
        size = sizes.get(row.configs[0]) if row.configs else None
        if size:
            values |= {'parameters': size.parameters, 'macs': next(iter(size.macs.values()))}
        shown = {measure: shown_as(measure, value) for measure, value in values.items()}
        printed = [shown_as(measure, value) for measure, value in row.values.items()]
        lines.append([row.name, PUBLISHED, *printed])
        lines.append(['', MEASURED, *(shown.get(measure, '') for measure in row.values)])
        remarks += [f'{row.name}, published: {row.note}'] if row.note else []
        remarks += more
    return Page(f'Table {table.name}. {table.caption}', ['Method', '', *table.columns], lines, remarks)


def shown_as(measure: str, value: float | None) -> str:
    """A number with the paper's decimals."""
    return '-' if value is None else f'{value:.{2 if measure.startswith("ce/") else 1}f}'


def entries_of(tables: Iterable[PaperTable]) -> list[ZooEntry]:
    """The zoo's entries for the rows of tables."""
    names = dict.fromkeys(config for table in tables for row in table.rows for config in row.configs)
    return [zoo()[name] for name in names]


def build_sizes(entries: Iterable[ZooEntry]) -> dict[str, Size]:
    """Models of the entries' configs, by entry; for images of 224 x 224 where nothing is published."""
    sizes = {}
    for entry in track([entry for entry in entries if entry.config], 'Building', transient=True):
        shapes = dict.fromkeys(figure.shape for figure in entry.figures) or [(224, 224)]
        sizes[entry.name] = size_of(cli.load_config(str(CONFIGS / entry.config)), shapes)
    return sizes


def to_size_page(entries: Iterable[ZooEntry], sizes: dict[str, Size]) -> tuple[Page, list[Comparison]]:
    """Counted beside published, what is not built, and the comparisons."""
    lines, remarks, comparisons = [], [], []
    for entry in entries:
        if entry.missing:
            lines.append([entry.name, '', '', '', '', 'not built', ''])
            remarks.append(f'{entry.name} is not built: {entry.missing}')
            continue
        size = sizes[entry.name]
        found = compare(entry.figures, size)
        comparisons += found
        if not found:
            lines.append([entry.name, 'parameters [M]', f'{size.parameters:.3f}', '', '', 'nothing published', ''])
        for one in found:
            figure = one.figure
            height, width = figure.shape
            quantity = 'parameters [M]' if figure.quantity == 'parameters' else f'MACs [G] at {height} x {width}'
            deviation = f'{100 * one.deviation:+.2f}%'
            lines.append(
                [entry.name, quantity, f'{one.counted:.3f}', f'{figure.value:g}', deviation, one.verdict, figure.source]
            )
            if figure.why:
                remarks.append(f'{entry.name}, {quantity} {figure.value:g} ({figure.source}): {figure.why}')
    used = {one.figure.source for one in comparisons}
    remarks += [f'{name}: {text}' for name, text in sources().items() if name in used]
    header = ['system', 'number', 'counted', PUBLISHED, 'deviation', 'verdict', 'source']
    return Page(f'Sizes, tolerance {TOLERANCE:.0%}', header, lines, list(dict.fromkeys(remarks))), comparisons


def show(page: Page) -> None:
    """Print a page; in a terminal that is too narrow, lines go on in the next."""
    table = Table()
    for index, name in enumerate(page.header):
        table.add_column(name.replace(' ', '\n'), justify='left' if index < 2 else 'right', no_wrap=True)
    for row in page.rows:
        table.add_row(*row)
    print(page.title)
    Console(width=WIDE, highlight=False).print(table)
    for remark in page.remarks:
        print(f'- {remark}')
    print()


def to_markdown(page: Page) -> str:
    """A page as Markdown."""
    lines = [f'# {page.title}', '', '| ' + ' | '.join(page.header) + ' |']
    lines.append('|' + '|'.join('---' if index < 2 else '---:' for index in range(len(page.header))) + '|')
    lines += ['| ' + ' | '.join(row) + ' |' for row in page.rows]
    lines += ['', *(f'- {remark}' for remark in page.remarks)] if page.remarks else []
    return '\n'.join(lines) + '\n'


def write(page: Page, folder: str, name: str) -> None:
    """Write a page as Markdown and CSV."""
    write_whole(Path(folder) / f'{name}.md', to_markdown(page))
    write_whole(Path(folder) / f'{name}.csv', as_csv(page.header, page.rows))


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    with cli.one_sentence():
        tables = choose_tables(args.tables)
        runs = read_runs(args.results, args.row)
        entries = (entries_of(tables) if args.tables else list(zoo().values())) if args.check else []
        sizes = build_sizes(entries)
        pages = {f'table_{table.name}': to_page(table, runs, sizes) for table in tables}
        comparisons = []
        if args.check:
            pages['sizes'], comparisons = to_size_page(entries, sizes)
        for name, page in pages.items():
            show(page)
            if args.out:
                write(page, args.out, name)
    in_a_table = {name for table in paper_tables().values() for row in table.rows for name in (row.name, *row.configs)}
    for name, run in runs:
        if name not in in_a_table:
            print(f'{run.path} belongs to no row: no table has the config {name}; --row gives it one.')
    failed = [one for one in comparisons if not one.passed]
    if args.check:
        print(f'{len(comparisons) - len(failed)} of {len(comparisons)} numbers pass.')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
