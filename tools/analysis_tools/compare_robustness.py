"""One HTML page of the robustness results of one or several runs, of segmentation or of classification.

python tools/analysis_tools/compare_robustness.py work_dirs/robustness/baseline work_dirs/robustness/tap_adl \
    --names baseline TAP+ADL --reference baseline --out page.html
python tools/analysis_tools/compare_robustness.py work_dirs/robustness/* --title 'All runs'
python tools/analysis_tools/compare_robustness.py a/results.json b/results.json --names a b --allow-differences

Segmentation is Cityscapes-C and ACDC; classification is ImageNet-C, its variants, attacks and ImageNet-P; either may be
a benchmark of your own.
"""

import argparse
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
from mmrobust.evaluation.comparison import protocol_differences
from mmrobust.evaluation.report import RESULTS, Report
from mmrobust.evaluation.results_page import by_benchmark, to_html
from mmrobust.files import write_whole


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        'results',
        nargs='+',
        help=f'{RESULTS} of evaluate_robustness.py, the folder it is in, or the one above, if that folder is called '
        'like its benchmark',
    )
    parser.add_argument(
        '--names',
        nargs='+',
        help='what to call the runs, one name for each path; a name may be given again for another benchmark '
        "(default: their folders, or the folder above for a benchmark's own)",
    )
    parser.add_argument(
        '--reference', metavar='NAME', help='show differences, and CD of segmentation, against this run'
    )
    parser.add_argument('--title', help='heading (default: Segmentation robustness, or Classification robustness)')
    parser.add_argument(
        '--out', type=cli.output_file, default='robustness.html', help='page to write (default: %(default)s)'
    )
    parser.add_argument(
        '--allow-differences',
        action='store_true',
        help='compare runs of different protocols or checkpoints all the same; the page says what differs',
    )
    return parser.parse_args(argv)


def read_path(path: Path) -> tuple[str, list[Report]]:
    """Name and reports of a path: of the file, of a folder, or of the benchmarks in the folders below.

    Raises:
        FileNotFoundError: there is none.
        ValueError: results are damaged.
    """
    file = path / RESULTS if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        found = [(below.parent.name, Report.read(below)) for below in sorted(path.glob(f'*/{RESULTS}'))]
        reports = [report for folder, report in found if folder == report.layout.benchmark]
        if reports:
            return path.resolve().name, reports
    report, folder = Report.read(file), file.resolve().parent
    return (folder.parent if folder.name == report.layout.benchmark else folder).name, [report]


def read_runs(paths: list[str], names: list[str] | None) -> dict[str, list[Report]]:
    """Reports by display name.

    Raises:
        FileNotFoundError: a path has no results.
        ValueError: there is not one name for each path, or results are damaged.
    """
    if names is not None and len(names) != len(paths):
        raise ValueError(f'--names takes {len(paths)} names, one for each path, got {", ".join(names)}')
    runs: dict[str, list[Report]] = {}
    for index, path in enumerate(paths):
        own, reports = read_path(Path(path))
        runs.setdefault(own if names is None else names[index], []).extend(reports)
    return runs


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        runs = read_runs(args.results, args.names)
        differences = protocol_differences(by_benchmark(runs))
        if differences and not args.allow_differences:
            raise ValueError(
                f'the runs differ in {"; ".join(differences)}: --allow-differences compares them all the same'
            )
        write_whole(args.out, to_html(runs, args.reference, args.title))
    print(args.out)


if __name__ == '__main__':
    main()
