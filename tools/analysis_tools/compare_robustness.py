"""One HTML page of the robustness results of one or several runs, of segmentation or of classification.

python tools/analysis_tools/compare_robustness.py work_dirs/robustness/baseline work_dirs/robustness/tap_adl \
    --names baseline TAP+ADL --reference baseline --out page.html

Segmentation is Cityscapes-C and ACDC; classification is ImageNet-C, its variants, attacks and ImageNet-P.
"""

import argparse
from pathlib import Path
from typing import Any

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
from mmrobust.datasets.minicity import CLASSES, PALETTE
from mmrobust.evaluation.published import TABLE_3, TABLE_IV, is_table_iv
from mmrobust.files import read_json, write_whole
from mmrobust.visualization.classification_page import TITLES, classification_page
from mmrobust.visualization.robustness_numbers import at, check_content, protocol_differences
from mmrobust.visualization.robustness_page import robustness_page
from mmrobust.visualization.worst_pictures import read_worst_panels

SEGMENTATION = {'cityscapes-c': 'Cityscapes-C', 'acdc': 'ACDC'}
NEEDED = {
    'cityscapes-c': ('clean_mIoU', 'mPC', 'retention', 'corruptions', 'cells'),
    'acdc': ('conditions', 'mean_mIoU', 'pooled_mIoU', 'classes'),
    'imagenet-c': ('clean_error', 'mean_error', 'mCE', 'relative_mCE', 'normalised_by', 'corruptions', 'cells'),
    'imagenet-variants': ('cells',),
    'adversarial': ('cells',),
    'imagenet-p': ('perturbations', 'mFR'),
}
RESULTS = 'results.json'
TITLE = '{} robustness'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Show robustness results of one or several runs on one HTML page.')
    parser.add_argument(
        'results',
        nargs='+',
        help=f'{RESULTS} of evaluate_robustness.py, the folder it is in, or the one above with {", ".join(NEEDED)}',
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
    parser.add_argument('--out', default='robustness.html', help='page to write (default: %(default)s)')
    parser.add_argument(
        '--allow-differences',
        action='store_true',
        help='compare runs of different protocols or checkpoints all the same; the page says what differs',
    )
    return parser.parse_args(argv)


def find_results(path: str | Path) -> list[Path]:
    """Every results.json that a path stands for: the file, that of a folder, those of the benchmarks below it.

    Raises:
        FileNotFoundError: there is none.
    """
    path = Path(path)
    tried = [path / RESULTS, *(path / benchmark / RESULTS for benchmark in NEEDED)] if path.is_dir() else [path]
    found = [file for file in tried if file.is_file()]
    if not found:
        raise FileNotFoundError(
            f'There are no results {str(tried[0])!r}: a run writes them when all its cells are finished.'
        )
    return found


def run_name(path: str | Path) -> str:
    """What a run is called: its folder, or the folder above if that is a benchmark's."""
    folder = Path(path).resolve()
    if folder.is_file():
        folder = folder.parent
    return folder.parent.name if folder.name in NEEDED else folder.name


def read_results(path: Path) -> tuple[str, dict[str, Any]]:
    """Benchmark and content of a results.json, with the pictures of the worst cases that lie beside it.

    Raises:
        ValueError: it is something else, or a picture is none.
    """
    wrong = f'{path} is not the results.json of evaluate_robustness.py'
    try:
        content = read_json(path)
        check_content(content)
        results = content['results']
        # runs from before there was ACDC do not say it
        benchmark = at(content, 'provenance', 'protocol', 'benchmark') or 'cityscapes-c'
        needed = NEEDED.get(benchmark)
        missing = [name for name in needed or () if name not in results]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{wrong}: {error!r}') from error
    if needed is None:
        raise ValueError(f'{path} is of the benchmark {benchmark!r}: only {", ".join(NEEDED)} can be shown')
    if missing:
        raise ValueError(f'{wrong}: it lacks {", ".join(missing)}')
    if 'worst' in content:
        content['worst'] = read_worst_panels(path.parent, content['worst'])
    return benchmark, content


def read_runs(paths: list[str], names: list[str] | None) -> dict[str, dict[str, dict[str, Any]]]:
    """Results by benchmark and by display name.

    Raises:
        FileNotFoundError: a path has no results.
        ValueError: there is not one name for each path, a name is used twice for one benchmark, or results are damaged.
    """
    if names is not None and len(names) != len(paths):
        raise ValueError(f'--names takes {len(paths)} names, one for each path, got {", ".join(names)}')
    runs: dict[str, dict] = {benchmark: {} for benchmark in NEEDED}
    for path, name in zip(paths, names or map(run_name, paths), strict=True):
        for file in find_results(path):
            benchmark, content = read_results(file)
            if name in runs[benchmark]:
                raise ValueError(f'two runs on {benchmark} are called {name!r}: --names takes different names')
            runs[benchmark][name] = content
    return runs


def segmentation(runs: dict[str, dict], reference: str | None, title: str | None) -> str:
    """The page of Cityscapes-C and ACDC."""
    corrupted, adverse = (runs.get(benchmark, {}) for benchmark in SEGMENTATION)
    # severity 5 alone has the same corruptions, but the table is of these cells
    published = TABLE_IV if all(is_table_iv(run['results']) for run in corrupted.values()) else None
    palette = dict(zip(CLASSES, PALETTE, strict=True))
    return robustness_page(corrupted, published, reference, title or TITLE.format('Segmentation'), adverse, palette)


def classification(runs: dict[str, dict], reference: str | None, title: str | None) -> str:
    """The page of the benchmarks of classifiers."""
    return classification_page(runs, reference, title or TITLE.format('Classification'), TABLE_3)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        runs = {name: found for name, found in read_runs(args.results, args.names).items() if found}
        if len({name in SEGMENTATION for name in runs}) > 1:
            raise ValueError(f'a page is of segmentation or of classification, not of both, got {" and ".join(runs)}')
        differences = protocol_differences({(SEGMENTATION | TITLES)[name]: found for name, found in runs.items()})
        if differences and not args.allow_differences:
            raise ValueError(
                f'the runs differ in {"; ".join(differences)}: --allow-differences compares them all the same'
            )
        to_page = segmentation if runs.keys() <= SEGMENTATION.keys() else classification
        page = to_page(runs, args.reference, args.title)
        write_whole(args.out, page)
    print(args.out)


if __name__ == '__main__':
    main()
