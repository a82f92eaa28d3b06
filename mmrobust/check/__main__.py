"""Say what is installed, which data are there, and what a file of weights is.

python -m mmrobust.check                       # the installation, the device, the data sets below data/
python -m mmrobust.check checkpoint.pth        # what the file is, and what takes it
"""

import argparse
import sys

from mmrobust import cli
from mmrobust.check import describe
from mmrobust.check.inventory import data, machine


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m mmrobust.check', description='Say what is installed, which data are there, and what a file is.'
    )
    parser.add_argument('file', nargs='?', help='checkpoint, of anyone: say what it is, and nothing else')
    parser.add_argument('--data-root', default='data', help='folder of the data sets (default: %(default)s)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence((OSError, ValueError)):
        if args.file is not None:
            show(describe(args.file).rows())
            return
        show(machine())
        show(data(args.data_root))


def show(rows) -> None:
    for label, text in rows:
        print(f'{label:<15} {text}', flush=True)


if __name__ == '__main__':
    sys.argv[0] = 'mmrobust.check'  # in messages, for __main__.py
    sys.exit(main())
