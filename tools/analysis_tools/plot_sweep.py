"""A result against K of TAP, lambda or tau of ADL, or any other setting: the paper's Fig. 7 and Table II.

python tools/analysis_tools/plot_sweep.py --parameter K --metric mPC --out work_dirs/sweep_k \\
    --series TAP 1=work_dirs/robustness/k1 2=work_dirs/robustness/k2 4=work_dirs/robustness/k4
python tools/analysis_tools/plot_sweep.py --parameter tau --metric clean_mIoU --series ADL 1=a 2=b --out work_dirs/tau
python tools/analysis_tools/plot_sweep.py --series seeds 5=a 5=b 7=c --baseline base --out work_dirs/seeds

Reads results.json of tools/evaluate_robustness.py, or its folder, and what tools/test.py --out FILE.json writes. A
value that is given several times, such as one for each seed, is drawn as mean with the range.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
import numpy as np
from matplotlib.figure import Figure

from figure_files import COLORS, MARKERS, write_figure
from mmrobust.evaluation.report import RESULTS, Report, finite
from mmrobust.files import nothing_at, read_json

PARAMETERS = {  # label of the axis, and whether it is logarithmic
    'K': ('number of branches K of TAP', False),
    'lambda': ('weight λ of ADL', True),
    'tau': ('threshold τ of ADL', False),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('--parameter', default='K', help=f'{", ".join(PARAMETERS)}, or any name (default: K)')
    parser.add_argument('--metric', default='mPC', help='name of a number in the files (default: %(default)s)')
    parser.add_argument(
        '--series',
        nargs='+',
        action='append',
        required=True,
        metavar=('NAME', 'VALUE=PATH'),
        help='a curve: its name, and its runs; may be given several times',
    )
    parser.add_argument('--baseline', metavar='PATH', help='a run to draw as a line across, such as one without ADL')
    parser.add_argument('--log', action='store_true', help='logarithmic axis (default for lambda)')
    parser.add_argument('--out', type=figure_stem, default='work_dirs/sweep', help='figure to write, without a suffix')
    return parser.parse_args(argv)


def figure_stem(path: str) -> str:
    """``type`` of ``--out``: several files are written, which begin with it."""
    cli.output_file(f'{path}.png')
    return path


def file_of(path: str) -> Path:
    """The results that a path stands for: the file, or that of a folder."""
    return Path(path, RESULTS) if Path(path).is_dir() else Path(path)


def read_number(path: str, metric: str) -> float:
    """The number ``metric`` of a run: of the headline of its report, or of what tools/test.py wrote.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: the file is no JSON, or has no such number.
    """
    file = file_of(path)
    if not file.is_file():
        raise nothing_at('results file', file)
    content = read_json(file)
    numbers = content.get('results', content) if isinstance(content, dict) else {}
    items = numbers.items() if isinstance(numbers, dict) else ()
    known = {name: number for name, number in items if finite(number) is not None}
    if metric not in known:
        raise ValueError(f'{file} has no number {metric!r}, but {", ".join(known) or "none at all"}')
    return float(known[metric])


def direction(path: str, metric: str) -> str:
    """Direction of a number, ``'higher'`` or ``'lower'`` is better, as the report says; empty if it does not."""
    try:
        columns = Report.read(file_of(path)).headline.columns
    except ValueError:  # of tools/test.py
        return ''
    return next((column.better for column in columns if column.key == metric), '')


def read_series(runs: list[str], metric: str) -> dict[float, list[float]]:
    """Value of the setting to the results of its runs, ascending.

    Raises:
        ValueError: a run is not VALUE=PATH.
    """
    if not runs:
        raise ValueError('--series takes a name and at least one VALUE=PATH')
    found: dict[float, list[float]] = {}
    for run in runs:
        value, separator, path = run.partition('=')
        try:
            setting = float(value)
        except ValueError:
            separator = ''
        if not separator:
            raise ValueError(f'--series takes VALUE=PATH such as 4=work_dirs/k4, got {run!r}')
        found.setdefault(setting, []).append(read_number(path, metric))
    return dict(sorted(found.items()))


def sweep_figure(
    series: Mapping[str, Mapping[float, Sequence[float]]],
    parameter: str,
    metric: str,
    logarithmic: bool = False,
    baseline: float | None = None,
) -> Figure:
    """Curves with markers, a bar from the smallest to the largest result where a setting has several.

    Args:
        series: name of a curve to setting to results.
        parameter: label of the setting.
        metric: label of the result.
        logarithmic: of the settings.
        baseline: a result to draw as a line across.

    Raises:
        ValueError: a setting on a logarithmic axis is not above 0.
    """
    settings = sorted({setting for runs in series.values() for setting in runs})
    if logarithmic and settings[0] <= 0:
        raise ValueError(f'settings on a logarithmic axis must be above 0, got {settings[0]}')
    figure = Figure((4.2, 3.0), layout='constrained')
    ax = figure.subplots()
    for place, (name, runs) in enumerate(series.items()):
        means = np.array([np.mean(results) for results in runs.values()])
        below, above = (np.abs([edge(results) for results in runs.values()] - means) for edge in (min, max))
        ax.errorbar(
            list(runs),
            means,
            yerr=(below, above) if any(below + above) else None,
            color=COLORS[place % len(COLORS)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=5,
            capsize=3,
            label=name,
        )
    if baseline is not None:
        ax.axhline(baseline, color='0.4', linestyle='--', linewidth=1, label='baseline')
    if logarithmic:
        ax.set_xscale('log')
    ax.set_xticks(settings, [f'{setting:g}' for setting in settings])
    ax.minorticks_off()
    ax.set_xlabel(parameter, fontsize=9)
    ax.set_ylabel(metric, fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(color='0.88', linewidth=0.6)
    ax.legend(fontsize=8)
    return figure


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        label, is_log = PARAMETERS.get(args.parameter, (args.parameter, False))
        series = {name: read_series(runs, args.metric) for name, *runs in args.series}
        if len(series) < len(args.series):
            raise ValueError('--series takes different names')
        baseline = read_number(args.baseline, args.metric) if args.baseline else None
        better = direction(args.series[0][1].partition('=')[2], args.metric)
        title = f'{args.metric} ({better} is better)' if better else args.metric
        figure = sweep_figure(series, label, title, is_log or args.log, baseline)
        num_runs = sum(len(results) for runs in series.values() for results in runs.values())
        caption = f'{args.metric} of {num_runs} runs against {label}. Bars: range of runs with one setting.'
        rows = [
            (name, setting, float(np.mean(results)), min(results), max(results), len(results))
            for name, runs in series.items()
            for setting, results in runs.items()
        ]
        header = ('series', args.parameter, f'mean {args.metric}', 'minimum', 'maximum', 'runs')
        print(write_figure(figure, args.out, caption, header, rows))


if __name__ == '__main__':
    main()
