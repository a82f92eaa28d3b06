"""Write Cityscapes-C to disk: the pixels of the evaluation on the fly, as PNG.

python tools/dataset_converters/cityscapes_c.py data/cityscapes data/cityscapes_c --preset kamann
python tools/dataset_converters/cityscapes_c.py data/cityscapes data/cityscapes_c --corruptions fog --severities 3 5
python tools/dataset_converters/cityscapes_c.py data/minicity data/minicity_c --num-workers 2

One file per corruption, severity and image: OUT/fog/3/leftImg8bit/val/<city>/<name>.png. Files that are there already
are left alone, so the command can be interrupted and repeated, and several of them can write to one folder.
"""

import argparse
import os
import shutil
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
from corrupted_copy import start_copy, write_images
from mmengine import fileio
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmrobust.corruptions import PROFILES
from mmrobust.datasets.transforms import Corrupt, LoadImageFromFile
from mmrobust.datasets.transforms.load_corrupted import check_pixels, path_in_copy
from mmrobust.evaluation.benchmarks.presets import PRESETS, select_cells

INTERRUPTED = 130  # exit code of a command that Ctrl-C has stopped


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('data_root', help='data_root of the config: the folder with leftImg8bit in it')
    parser.add_argument('out', type=cli.output_folder, help='folder to write')
    parser.add_argument('--images', default='leftImg8bit/val', help='folder below data_root (default: %(default)s)')
    parser.add_argument('--suffix', default='_leftImg8bit.png', help='end of their names (default: %(default)s)')
    parser.add_argument('--preset', choices=PRESETS, default='kamann', help='which cells (default: %(default)s)')
    parser.add_argument('--corruptions', nargs='+', metavar='NAME', help="these instead of the preset's")
    parser.add_argument('--severities', nargs='+', type=int, metavar='1-5', help="these instead of the preset's")
    parser.add_argument('--seed', type=int, default=0, help='of the random corruptions (default: 0)')
    parser.add_argument('--profile', choices=PROFILES, default='rgb', help="bgr: the released code's channel order")
    parser.add_argument(
        '--num-workers', type=int, default=os.cpu_count(), help='processes; 0 writes in this one (default: all cores)'
    )
    return parser.parse_args(argv)


def find_images(args: argparse.Namespace) -> list[str]:
    """Paths of the clean images, found as the datasets of MMSegmentation find them.

    Raises:
        FileNotFoundError: there are none.
        ValueError: the copies would be written among them.
    """
    folder = Path(args.data_root, args.images)
    if Path(args.out).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f'OUT must lie outside the folder of the clean images, {folder}, got {args.out}')
    names = (
        fileio.list_dir_or_file(folder, list_dir=False, suffix=args.suffix, recursive=True) if folder.is_dir() else ()
    )
    images = sorted(str(folder / name) for name in names)
    if not images:
        raise FileNotFoundError(
            f'There is no image {folder.resolve()}/**/*{args.suffix}: check data_root, --images and --suffix.'
        )
    return images


def announce(out: str, num_todo: int, num_files: int, example: str) -> None:
    """Say how much is to be done, taking every image to be as large as this one."""
    raw = num_todo * LoadImageFromFile()({'img_path': example})['img'].nbytes
    # Over the cells of `kamann` a photograph's PNG takes half of its raw size, and gaussian noise nearly all of it.
    print(
        f'{num_todo} files to write, {num_files - num_todo} are there already: about {raw / 2e9:.3g} GB, at most '
        f'{raw / 1e9:.3g} GB; {shutil.disk_usage(out).free / 1e9:.3g} GB are free.'
    )


def write_all(out: str, jobs: list[tuple[Corrupt, str]], num_workers: int) -> None:
    """Write all files, with progress and time left."""
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # without its thread: a process that is forked while a thread prints may wait for its lock forever
    with Progress(*columns, auto_refresh=False) as progress:
        task = progress.add_task('', total=len(jobs))

        def written(corrupt: Corrupt) -> None:
            progress.update(task, advance=1, description=f'{corrupt.corruption} {corrupt.severity}', refresh=True)

        write_images(out, jobs, num_workers, written)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence((OSError, ValueError, TypeError, BrokenProcessPool)):
        if args.num_workers < 0:
            raise ValueError(f'--num-workers must be 0 or more, got {args.num_workers}')
        cells = select_cells(args.preset, args.corruptions, args.severities)
        images = find_images(args)
        start_copy(args.out, args.seed, args.profile)
        # cell by cell, so that the first ones can be used while the others are written
        jobs = [
            (Corrupt(cell.name, cell.severity, args.data_root, args.seed, args.profile), image)
            for cell in cells
            for image in images
        ]
        there = {job for job in jobs if Path(path_in_copy(args.out, *job)).exists()}
        todo = [job for job in jobs if job not in there]
        check_pixels(args.out, [job for job in jobs if job in there])
        announce(args.out, len(todo), len(jobs), images[0])
        try:
            write_all(args.out, todo, args.num_workers)
        except KeyboardInterrupt:
            print('Interrupted: what is written stays, and the same command continues.')
            raise SystemExit(INTERRUPTED) from None
    print(f'{len(todo)} files written, {len(jobs) - len(todo)} were there already: {args.out}')


if __name__ == '__main__':
    main()
