"""CPU time of each corruption here and in imagecorruptions, side by side in one run, on one core.

python tools/analysis_tools/benchmark_corruptions.py --size 2048 1024
"""

import argparse
import statistics
import time

import cv2
import numpy as np
from imagecorruptions import corrupt as reference  # the distribution imagecorruptions-imaug
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmrobust import cli
from mmrobust.corruptions import CORRUPTIONS, SEVERITIES, corrupt


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Time the corruptions beside those of imagecorruptions.')
    parser.add_argument('--size', type=int, nargs=2, default=(2048, 1024), metavar=('WIDTH', 'HEIGHT'))
    parser.add_argument('--severity', type=int, default=3, choices=SEVERITIES, help='default: %(default)s')
    parser.add_argument('--runs', type=int, default=3, help='runs of each, of which the median counts (default: 3)')
    parser.add_argument('--corruptions', nargs='+', metavar='NAME', help='default: all 19')
    return parser.parse_args(argv)


def cpu_seconds(call) -> float:
    """CPU time of one call: unlike wall time it does not count other processes of a shared machine."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    cv2.setNumThreads(1)
    width, height = args.size
    # smooth structure and texture, as a photograph has both
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image = cv2.add(image, rng.integers(0, 20, image.shape, dtype=np.uint8))

    names = args.corruptions or list(CORRUPTIONS)
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    with cli.one_sentence():
        for name in track(names, description='timing'):
            times = []
            for _ in range(args.runs + 1):  # alternating, and the first of each is a warm-up: numba compiles in it
                first = cpu_seconds(lambda name=name: corrupt(image, name, args.severity, rng))
                times.append(
                    (first, cpu_seconds(lambda name=name: reference(image, args.severity, corruption_name=name)))
                )
            ours[name], theirs[name] = (statistics.median(column) for column in zip(*times[1:], strict=True))

    table = Table(title=f'CPU seconds, {width} x {height}, severity {args.severity}, median of {args.runs}')
    for column in ('corruption', 'mmrobust', 'imagecorruptions', 'ratio'):
        table.add_column(column, justify='left' if column == 'corruption' else 'right')
    for name in names:
        table.add_row(name, f'{ours[name]:.3f}', f'{theirs[name]:.3f}', f'{theirs[name] / ours[name]:.1f}')
    total = sum(ours.values()), sum(theirs.values())
    table.add_row('together', f'{total[0]:.3f}', f'{total[1]:.3f}', f'{total[1] / total[0]:.1f}')
    Console(width=80).print(table)


if __name__ == '__main__':
    main()
