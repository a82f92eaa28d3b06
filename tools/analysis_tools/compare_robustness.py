"""One HTML page of the robustness results of one or several runs.

python tools/analysis_tools/compare_robustness.py work_dirs/robustness/baseline work_dirs/robustness/tap_adl \
    --names baseline TAP+ADL --reference baseline --out page.html
"""

import argparse
import json
from pathlib import Path
from typing import Any

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
from mmrobust.evaluation.benchmarks import select_cells, write_whole
from mmrobust.evaluation.benchmarks.published import TABLE_IV
from mmrobust.visualization.robustness_page import protocol_differences, robustness_page

NEEDED = ('clean_mIoU', 'mPC', 'retention', 'corruptions', 'cells')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Show robustness results of one or several runs on one HTML page.')
    parser.add_argument('results', nargs='+', help='results.json of evaluate_robustness.py, or the folder it is in')
    parser.add_argument('--names', nargs='+', help='what to call the runs (default: their folders)')
    parser.add_argument('--reference', metavar='NAME', help='show differences and CD against this run')
    parser.add_argument('--title', default='Segmentation robustness', help='heading (default: %(default)s)')
    parser.add_argument('--out', default='robustness.html', help='page to write (default: %(default)s)')
    parser.add_argument(
        '--allow-differences',
        action='store_true',
        help='compare runs of different cells, pictures, seeds or profiles all the same; the page says what differs',
    )
    return parser.parse_args(argv)


def read_results(path: str | Path) -> dict[str, Any]:
    """Content of a results.json, given its path or its folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is something else.
    """
    path = Path(path)
    if path.is_dir():
        path = path / 'results.json'
    if not path.is_file():
        raise FileNotFoundError(
            f'There are no results {str(path)!r}: a run writes them when all its cells are finished.'
        )
    try:
        content = json.loads(path.read_text())
        missing = [name for name in NEEDED if name not in content['results']]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is not the results.json of evaluate_robustness.py: {error!r}') from error
    if missing:
        raise ValueError(f'{path} is not the results.json of evaluate_robustness.py: it lacks {", ".join(missing)}')
    return content


def named(paths: list[str], names: list[str] | None) -> dict[str, dict]:
    """Results by display name.

    Raises:
        ValueError: there is not one name for each, or two are the same.
    """
    if names is None:
        folders = [path if Path(path).is_dir() else Path(path).parent for path in paths]
        names = [Path(folder).resolve().name for folder in folders]
    if len(names) != len(paths) or len(set(names)) != len(names):
        raise ValueError(f'--names takes {len(paths)} different names, one for each run, got {", ".join(names)}')
    return {name: read_results(path) for name, path in zip(names, paths, strict=True)}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        runs = named(args.results, args.names)
        differences = protocol_differences(runs)
        if differences and not args.allow_differences:
            raise ValueError(
                f'the runs differ in {"; ".join(differences)}: --allow-differences compares them all the same'
            )
        # severity 5 alone has the same corruptions, but the table is of these cells
        of_table = {cell.name for cell in select_cells('kamann')}
        comparable = all(set(run['results']['cells']) == of_table for run in runs.values())
        page = robustness_page(runs, TABLE_IV if comparable else None, args.reference, args.title)
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, page)
    print(out)


if __name__ == '__main__':
    main()
