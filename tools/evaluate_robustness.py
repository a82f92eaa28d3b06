"""mIoU of a segmentation model on Cityscapes-C, corrupted on the fly: resumable, and splittable over processes.

python tools/evaluate_robustness.py configs/fan_tap_adl_cityscapes.py CHECKPOINT --preset kamann
python tools/evaluate_robustness.py CONFIG CHECKPOINT --shard 0/3   # and 1/3, 2/3, anywhere on a shared folder
torchrun --nproc_per_node 4 tools/evaluate_robustness.py CONFIG CHECKPOINT

Works for any MMSegmentation config. Each finished corruption and severity is one file; started again, the command
continues where it was, and the last process to finish writes the summary.
"""

import argparse
import json
import os
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
import mmengine
import mmseg
import numpy as np
import torch
from mmengine.device import get_device
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmrobust.evaluation.benchmarks import (
    CLEAN,
    PRESETS,
    CellStore,
    SegmentationBenchmark,
    is_table_iv,
    preset_groups,
    select_cells,
    shard,
    summarize,
    to_csv,
    to_markdown,
    write_whole,
)
from mmrobust.evaluation.benchmarks.published import TABLE_IV
from mmrobust.evaluation.functional import mean_iou
from mmrobust.version import __version__
from mmrobust.visualization import robustness_page


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a segmentation model under common corruptions.')
    parser.add_argument('config', help='config file of any MMSegmentation model')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--benchmark', choices=['cityscapes-c'], default='cityscapes-c', help='default: %(default)s')
    parser.add_argument('--preset', choices=PRESETS, default='kamann', help='which cells (default: %(default)s)')
    parser.add_argument('--corruptions', nargs='+', metavar='NAME', help="these instead of the preset's")
    parser.add_argument('--severities', nargs='+', type=int, metavar='1-5', help="these instead of the preset's")
    parser.add_argument('--max-images', type=int, help='this many pictures, spread evenly over the data set')
    parser.add_argument('--out', help='results folder (default: work_dirs/robustness/<config>)')
    parser.add_argument('--shard', default=None, metavar='I/N', help='run part I, from 0, of N (default: all)')
    parser.add_argument('--seed', type=int, default=0, help='of the random corruptions (default: 0)')
    parser.add_argument(
        '--profile', choices=['rgb', 'bgr'], default='rgb', help="bgr: the released code's channel order"
    )
    parser.add_argument('--num-workers', type=int, default=2, help='loading processes (default: 2)')
    parser.add_argument('--batch-size', type=int, default=1, help='pictures per forward pass (default: 1)')
    parser.add_argument('--device', help='such as cpu or cuda:0 (default: cuda if there is one)')
    cli.add_cfg_options(parser)
    return parser.parse_args(argv)


def which_shard(text: str | None) -> tuple[int, int]:
    """Index and count from ``--shard``, else from torchrun's environment, else everything.

    Raises:
        ValueError: the text is not I/N.
    """
    if text is None:
        return int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
    index, slash, count = text.partition('/')
    if not (slash and index.isdigit() and count.isdigit()):
        raise ValueError(f'--shard takes I/N such as 0/3, got {text!r}')
    return int(index), int(count)


def run(benchmark: SegmentationBenchmark, store: CellStore, cells: list) -> None:
    """Run the cells that are not finished yet, with progress, time left and the mean so far."""
    todo = [cell for cell in cells if not store.has(cell)]
    scores = [mean_iou(store.read(cell).confusion) for cell in cells if store.has(cell)]
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('pictures'),
        TimeRemainingColumn(),
        TextColumn('{task.fields[state]}'),
    )
    with Progress(*columns) as progress:
        task = progress.add_task('', total=len(todo) * benchmark.num_images, state='')
        for cell in todo:
            progress.update(task, description=cell.name)
            matrices = {}
            for name, matrix in benchmark.run(cell):
                matrices[name] = matrix
                progress.advance(task)
            result = benchmark.collect(matrices)
            store.write(cell, result)
            scores.append(mean_iou(result.confusion))
            state = f'{len(scores)} of {len(cells)} cells, mean mIoU {np.mean(scores):.2f}'
            progress.update(task, state=state)


def write_summary(benchmark: SegmentationBenchmark, store: CellStore, cells: list, args: argparse.Namespace) -> None:
    """Write results.json, .csv, .md and .html; print the headline."""
    summary = summarize(store, cells, preset_groups(args.preset), benchmark.class_names)
    title = f'{Path(args.config).stem} on {args.benchmark}'
    provenance = {
        'config': args.config,
        'checkpoint': args.checkpoint,
        'protocol': {'benchmark': args.benchmark, 'preset': args.preset, 'cells': [cell.name for cell in cells]},
        **benchmark.identity,
        'versions': {
            'mmrobust': __version__,
            'torch': torch.__version__,
            'mmengine': mmengine.__version__,
            'mmseg': mmseg.__version__,
        },
    }
    content = {'provenance': provenance, 'results': summary}
    write_whole(store.folder / 'results.json', json.dumps(content, indent=2) + '\n')
    write_whole(store.folder / 'results.csv', to_csv(summary))
    page = to_markdown(summary, title)
    write_whole(store.folder / 'results.md', page)
    published = TABLE_IV if is_table_iv(summary) else None
    html = robustness_page({Path(args.config).stem: content}, published, title=title)
    write_whole(store.folder / 'results.html', html)
    print('\n'.join(page.splitlines()[:7]))
    print(f'\nAll numbers: {store.folder / "results.html"}, .md, .csv and .json')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        cells = select_cells(args.preset, args.corruptions, args.severities)
        index, count = which_shard(args.shard)
        mine = shard([CLEAN, *cells], index, count)
        config = cli.load_config(args.config, args.cfg_options)
        cli.require_file(args.checkpoint, 'checkpoint')
        benchmark = SegmentationBenchmark(
            config,
            args.checkpoint,
            args.device or get_device(),
            args.seed,
            args.profile,
            args.max_images,
            args.num_workers,
            args.batch_size,
        )
        out = args.out or Path('work_dirs/robustness') / Path(args.config).stem
        store = CellStore(out, benchmark.identity)
    with cli.one_sentence((ValueError, OSError)):  # broken pictures, damaged cells, a full disk
        run(benchmark, store, mine)
        missing = [cell.name for cell in (CLEAN, *cells) if not store.has(cell)]
        if missing:
            print(f'{len(missing)} of {len(cells) + 1} cells are left to other processes; the last one summarises.')
        else:
            write_summary(benchmark, store, cells, args)


if __name__ == '__main__':
    main()
