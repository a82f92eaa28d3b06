"""One page to show of a model: what was measured, what is worst, how far below clean, and what is not known.

python tools/robustness_card.py work_dirs/robustness/mine/cityscapes-c --out card.md
python tools/robustness_card.py results/cityscapes-c results/acdc --out cards/mine.md   # several benchmarks
python tools/robustness_card.py results/cityscapes-c/results.json --name my-segmentor   # card.md and card.html

Everything is taken from results.json of evaluate_robustness.py. Beside FILE.md the same is written as FILE.html. The
numbers of FILE.md also stand in its YAML head, in the fields of a Hugging Face model card (model-index).
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
import numpy as np
import yaml
from jinja2 import Template
from markdown_it import MarkdownIt  # rich needs it, so it is there
from markupsafe import Markup

from mmrobust.corruptions import CORRUPTIONS
from mmrobust.datasets.acdc import CONDITIONS
from mmrobust.evaluation.benchmarks.base import benchmark_types
from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.comparison import paired
from mmrobust.evaluation.renderers import shown_interval
from mmrobust.evaluation.report import RESULTS, Column, Number, Report, Table
from mmrobust.evaluation.statistics import interval
from mmrobust.evaluation.verdict import (
    ONE_RUN,
    facts,
    listed,
    measure,
    rows_by_harm,
    shown,
    signed,
    too_few,
    verdict,
)
from mmrobust.files import write_whole

WORST = 3  # conditions in the table
SCOPES = {'segmentation': 'mmseg', 'classification': 'mmpretrain'}  # of the models, by the kind of a report
_PAGE = Template(
    """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>
body{max-width:820px;margin:0 auto;padding:16px;background:#fff;color:#1a1a1a;font:15px/1.4 system-ui,sans-serif}
h1{font-size:1.5em}h2{font-size:1.2em;border-top:2px solid #444;padding-top:.4em}h1,h2,p,li{overflow-wrap:anywhere}
table{border-collapse:collapse;font-size:.9em;font-variant-numeric:tabular-nums}
th,td{padding:.25em .6em;text-align:right;border-bottom:1px solid #e6e6e6}tr>:first-child{text-align:left}
</style></head><body>
{{ body }}</body></html>
""",
    autoescape=True,
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('results', nargs='+', help=f'{RESULTS} of evaluate_robustness.py, or the folder it is in')
    parser.add_argument('--name', help='what to call the model (default: the name of the run)')
    parser.add_argument(
        '--out', type=cli.output_file, default='card.md', help='file to write, ending in .md (default: %(default)s)'
    )
    return parser.parse_args(argv)


def read(paths: Sequence[str]) -> list[Report]:
    """The reports of one model.

    Raises:
        FileNotFoundError: a path has no results.
        ValueError: one is damaged, or they are of several models.
    """
    reports = [Report.read(Path(path) / RESULTS if Path(path).is_dir() else path) for path in paths]
    models = {
        str(report.provenance.get('checkpoint_sha256')): path for report, path in zip(reports, paths, strict=True)
    }
    if len(models) > 1:
        raise ValueError(
            f'a card is of one model, got results of {len(models)} checkpoints in {", ".join(models.values())}: write '
            'a card for each, or compare them with tools/analysis_tools/compare_robustness.py'
        )
    titles = [report.layout.title for report in reports]
    if len(set(titles)) < len(titles):
        raise ValueError(f'a card takes each benchmark once, got {", ".join(titles)}')
    return reports


def with_interval(report: Report, table: Table, row: str, column: Column) -> Number:
    """A number; where no interval is kept, with that of its bootstrap samples."""
    number = report.number(table, row, column)
    _, units, samples = report.draws(table, row, column)
    if None in (number.value, *samples) or number.low is not None or not samples:
        return number
    return number._replace(**dict(zip(('low', 'high'), interval(np.array(samples), units), strict=True)))


def from_clean(report: Report, table: Table, row: str, column: Column) -> Number:
    """How far a number is above the one on clean images, with a paired interval where the samples are kept."""
    clean = Column(report.layout.clean, '')
    value, base = report.number(table, row, column).value, report.number(report.headline, '', clean).value
    if not report.layout.clean or value is None or base is None:
        return Number()
    return paired(value, report.draws(table, row, column), base, report.draws(report.headline, '', clean))


def places(report: Report) -> Iterator[tuple[str, Table, str, Column]]:
    """What a card shows of a report, with its name: the headline, and the worst conditions by their first column."""
    for column in report.headline.columns:
        yield column.title, report.headline, '', column
    table = report.layout.table('conditions')
    if table is not None:
        worst = [row for row in rows_by_harm({'': report}, table) if row != 'clean' and row not in table.apart]
        shown_already = {column.key.split('/')[1] for column in report.headline.columns if '/' in column.key}
        for row in [row for row in worst if row not in shown_already][:WORST]:
            yield f'{row} ({table.columns[0].title})', table, row, table.columns[0]


def section(report: Report) -> Iterator[str]:
    """Markdown of a report."""
    runs = {report.name: report}
    held: dict[int, set[str]] = {}
    for cell in map(Cell.of_key, report.own_rows(report.layout.table('grid') or report.headline)):
        held.setdefault(cell.severity, set()).add(cell.name)
    told = facts(runs, held if report.layout.table('grid') else {})
    yield f'\n## {report.layout.title}\n\nMeasured: {"; ".join(told)}.\n'
    yield ' '.join(verdict(runs, None)) + '\n'
    yield '| | value | 95% interval |' + ' from clean |' * bool(report.layout.clean)
    yield '|---|---:|---:|' + '---:|' * bool(report.layout.clean)
    for title, table, row, column in places(report):
        number = with_interval(report, table, row, column)
        own = column.key == report.layout.clean or measure(column.key) != measure(report.layout.clean)
        change = '-' if own else signed(from_clean(report, table, row, column))
        cells = [title, shown(number.value, column.decimals), shown_interval(number)]
        yield f'| {" | ".join([*cells, change] if report.layout.clean else cells)} |'
    yield ''
    calibration = of_section(report, 'calibration')
    if calibration is not None:
        ece = {row: report.number(calibration, row, calibration.columns[0]) for row in report.own_rows(calibration)}
        found = {row: number for row, number in ece.items() if number.value is not None}
        worst = max(found, key=lambda row: found[row].value, default=None)
        rows = dict.fromkeys(row for row in ('clean', 'pooled', worst) if row in found)
        told = [f'{row} {shown(found[row].value)} ({shown_interval(found[row])})' for row in rows]
        yield f'Calibration, ECE with its interval: {", ".join(told)}; that of {worst} is the highest.\n'
    yield f'{report.layout.about}\n'


def of_section(report: Report, name: str) -> Table | None:
    """The table of a section of the results."""
    return next((table for table in report.layout.tables if table.section == name), None)


def unknown(reports: Sequence[Report]) -> Iterator[str]:
    """What the results do not say, a sentence each."""
    for report in reports:
        title, grid, table = report.layout.title, report.layout.table('grid'), report.layout.table('conditions')
        run = {Cell.of_key(row).name for row in report.own_rows(grid or table or report.headline)} - {'clean'}
        known = next((names for names in (CONDITIONS, CORRUPTIONS) if run and run <= set(names)), ())
        missing = [name for name in known if name not in run]
        if missing:
            yield f'{title}: not run: {", ".join(missing)}.'
        levels = {Cell.of_key(row).severity for row in report.own_rows(grid)} - {0} if grid else ()
        if levels and (left := [level for level in range(1, 6) if level not in levels]):
            yield f'{title}: no cell at severity {listed(left)}.'
        if report.provenance.get('trained_on', 'unknown') == 'unknown':
            yield f'{title}: what the model was trained on is not recorded; it may have seen such images.'
        options = getattr(benchmark_types().get(report.layout.benchmark), 'options', {})
        if 'calibration' in options and of_section(report, 'calibration') is None:
            yield f'{title}: calibration was not measured.'
        if not report.layout.clean:
            yield f'{title}: it has no clean images, so nothing says how much is lost.'
        if any(with_interval(report, *place[1:]).low is None for place in places(report)):
            yield f'{title}: a number with a dash has no interval.'
        if remark := too_few({report.name: report}):
            yield f'{title}: {remark}'
    kind = reports[0].layout.kind
    run = {report.layout.benchmark for report in reports}
    left = [name for name in benchmark_types(SCOPES.get(kind, '')) if name not in run]
    if left:
        yield f'Not run at all: {", ".join(left)}.'
    yield ONE_RUN
    yield 'The intervals are over the test images; other cities, cameras and seasons are not in them.'


def head(reports: Sequence[Report], name: str) -> str:
    """The YAML head: the fields of a Hugging Face model card."""
    results = []
    for report in reports:
        metrics = []
        for title, table, row, column in places(report):
            number = with_interval(report, table, row, column)
            kind = 'mean_iou' if measure(column.key) == 'mIoU' else column.key.rpartition('/')[2]
            for end, value in zip(('', ', low end of 95%', ', high end of 95%'), number[:3], strict=True):
                if value is not None:
                    metrics.append({'type': kind, 'name': f'{title}{end}', 'value': round(value, 4)})
        task = {'type': f'image-{report.layout.kind}'}
        dataset = {'type': report.layout.benchmark, 'name': report.layout.title}
        results.append({'task': task, 'dataset': dataset, 'metrics': metrics})
    content = {
        'library_name': 'mmrobust',
        'tags': ['robustness'],
        'model-index': [{'name': name, 'results': results}],
    }
    return f'---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---\n'


def body(reports: Sequence[Report], name: str) -> str:
    """The page in Markdown, without its head."""
    first = {'trained_on': 'unknown', **reports[0].provenance}
    trained_on = 'data that are not recorded' if first['trained_on'] == 'unknown' else first['trained_on']
    lines = [f'# Robustness of {name}', '']
    lines.append(
        f'Config `{first.get("config")}`, weights `{str(first.get("checkpoint_sha256"))[:12]}`, trained on '
        f'{trained_on}. Numbers are in percent where nothing else is said.'
    )
    lines += [line for report in reports for line in section(report)]
    lines += ['## What is not known', '', *(f'- {sentence}' for sentence in dict.fromkeys(unknown(reports)))]
    return '\n'.join(lines) + '\n'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        out = Path(args.out)
        if out.suffix != '.md':
            raise ValueError(f'--out must end in .md, got {args.out!r}')
        reports = read(args.results)
        name = args.name or reports[0].name
        text = body(reports, name)
        page = MarkdownIt('commonmark', {'html': False}).enable('table').render(text)
        write_whole(out, head(reports, name) + text)
        write_whole(out.with_suffix('.html'), _PAGE.render(title=f'Robustness of {name}', body=Markup(page)))
    print(f'{out} and {out.with_suffix(".html")}')


if __name__ == '__main__':
    sys.exit(main())
