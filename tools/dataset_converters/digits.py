"""Write scikit-learn's handwritten digits as images in one folder per digit.

python tools/dataset_converters/digits.py      # data/digits, 1797 images of 64 x 64 pixels
python tools/dataset_converters/digits.py --out /data/digits
python tools/dataset_converters/digits.py --size 32 --overwrite
"""

import argparse

from mmrobust import cli
from mmrobust.datasets.digits import write_digits


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('--out', default='data/digits', help='folder to write (default: %(default)s)')
    parser.add_argument('--size', type=int, default=64, help='side of the images in pixels (default: %(default)s)')
    parser.add_argument('--overwrite', action='store_true', help='replace digits written with another size')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        written = write_digits(args.out, args.size, args.overwrite)
    print(f'The digits {"are written" if written else "were there already, nothing to do"}: {args.out}/{{train,val}}')


if __name__ == '__main__':
    main()
