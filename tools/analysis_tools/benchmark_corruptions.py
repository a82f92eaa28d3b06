"""CPU time of each corruption here and in imagecorruptions, side by side in one run, on one core.

python tools/analysis_tools/benchmark_corruptions.py --size 2048 1024
python tools/analysis_tools/benchmark_corruptions.py --corruptions fog frost --severity 5 --runs 5
python tools/analysis_tools/benchmark_corruptions.py --original old_environment/bin/python

``imagecorruptions`` here is the distribution ``imagecorruptions-imaug``. The original of 2020 does not import beside
the packages used here; ``--original`` takes the interpreter of an environment in which it does.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmrobust import cli
from mmrobust.corruptions import CORRUPTIONS, SEVERITIES
from performance.corruption_cases import beside_imagecorruptions, photograph

ORIGINAL_VERSION = '1.1.2'
SLOW = 'glass_blur'  # of the original: a loop over the pixels in Python

# Run by the interpreter of --original: a name comes in, the CPU seconds of that corruption go out.
ORIGINAL_PROGRAM = """
import sys, time
from importlib import metadata
try:
    version = metadata.version('imagecorruptions')
except metadata.PackageNotFoundError:
    sys.exit('it is not installed there')
if version != sys.argv[3]:
    sys.exit('version ' + version + ' is installed there')
import cv2, numpy as np
from imagecorruptions import corrupt

answers, sys.stdout = sys.stdout, sys.stderr  # the package prints
cv2.setNumThreads(1)
image, severity = np.load(sys.argv[1]), int(sys.argv[2])
print('ready', file=answers, flush=True)
for line in sys.stdin:
    corrupt(image[:64, :64], severity, line.strip())  # a warm-up
    start = time.process_time()
    corrupt(image, severity, line.strip())
    print(time.process_time() - start, file=answers, flush=True)
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('--size', type=int, nargs=2, default=(2048, 1024), metavar=('WIDTH', 'HEIGHT'))
    parser.add_argument('--severity', type=int, default=3, choices=SEVERITIES, help='default: %(default)s')
    parser.add_argument('--runs', type=int, default=3, help='runs of each, of which the median counts (default: 3)')
    parser.add_argument('--corruptions', nargs='+', metavar='NAME', help='default: all 19')
    parser.add_argument(
        '--original',
        metavar='PYTHON',
        help=f'interpreter of an environment with imagecorruptions {ORIGINAL_VERSION}, which is then timed as well',
    )
    parser.add_argument(
        '--original-runs',
        type=int,
        default=1,
        help=f"runs of the original's {SLOW}, which takes half a minute or more at 2048 x 1024 (default: 1)",
    )
    return parser.parse_args(argv)


@contextmanager
def original_corruptions(python: str, image: np.ndarray, severity: int) -> Iterator[Callable[[str], float]]:
    """Start the original imagecorruptions in an interpreter of its own, on one thread.

    Args:
        python: the interpreter.
        image: what is corrupted.
        severity: 1 to 5.

    Yields:
        A function from the name of a corruption to the CPU seconds that the original takes for it.

    Raises:
        FileNotFoundError: there is no such interpreter.
        ValueError: the original is not installed for it, has another version or fails.
    """
    program = shutil.which(python)
    if program is None:
        raise FileNotFoundError(f'There is no interpreter {python!r}.')
    threads = dict.fromkeys(('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'NUMEXPR_NUM_THREADS'), '1')
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, 'errors.txt'), 'w+') as errors:
        np.save(Path(folder, 'image.npy'), image)
        arguments = [str(Path(folder, 'image.npy')), str(severity), ORIGINAL_VERSION]
        with subprocess.Popen(
            [program, '-W', 'ignore', '-c', ORIGINAL_PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **threads},
            text=True,
        ) as process:

            def answer() -> str:
                line = process.stdout.readline().strip()
                if not line:
                    process.wait()
                    errors.seek(0)
                    reason = (errors.read().strip() or 'it ended without a word').splitlines()[-1]
                    raise ValueError(f'{python} cannot run imagecorruptions {ORIGINAL_VERSION}: {reason}.')
                return line

            def seconds(name: str) -> float:
                print(name, file=process.stdin, flush=True)
                return float(answer())

            answer()  # it is ready
            yield seconds


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    width, height = args.size
    image = photograph(width, height)
    names = args.corruptions or list(CORRUPTIONS)
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    originals: dict[str, float] = {}
    with cli.one_sentence():
        if not 1 <= args.original_runs <= args.runs:
            raise ValueError('--runs takes a number from 1, and --original-runs one from 1 to that.')
        old = original_corruptions(args.original, image, args.severity) if args.original else nullcontext()
        with old as original_seconds:
            for name in track(names, description='timing'):
                original_times: list[float] = []

                def time_original(run: int, name: str = name, times: list[float] = original_times) -> None:
                    if args.original and (name != SLOW or 1 <= run <= args.original_runs):
                        times.append(original_seconds(name))

                ours[name], theirs[name] = beside_imagecorruptions(
                    name, image, args.severity, args.runs, between=time_original
                )
                if original_times:
                    originals[name] = statistics.median(original_times[name != SLOW :])

    table = Table(title=f'CPU seconds, {width} x {height}, severity {args.severity}, median of {args.runs}')
    columns = ['corruption', 'mmrobust', 'imagecorruptions', 'ratio']
    contestants = [theirs]
    if originals:
        columns[2:] = ['imaug', 'ratio', 'original', 'ratio']
        contestants.append(originals)
        table.caption = (
            f'imaug: imagecorruptions-imaug; original: imagecorruptions {ORIGINAL_VERSION}, '
            f'its {SLOW}, which is slow, median of {args.original_runs} (--original-runs)'
        )
    for column in columns:
        table.add_column(column, justify='left' if column == 'corruption' else 'right')
    for times in (ours, *contestants):
        times['together'] = sum(times.values())
    for name in ours:
        cells = [(f'{times[name]:.3f}', f'{times[name] / ours[name]:.1f}') for times in contestants]
        table.add_row(name, f'{ours[name]:.3f}', *(cell for pair in cells for cell in pair))
    Console(width=80).print(table)


if __name__ == '__main__':
    main()
