"""Draw MiniCity: small street scenes in Cityscapes' layout, and the same streets in ACDC's four conditions.

python tools/dataset_converters/minicity.py                       # data/minicity, 512 x 256
python tools/dataset_converters/minicity.py --size 256 128 --num-train 64 --num-val 16 --num-acdc 8
python tools/dataset_converters/minicity.py --preview minicity.png   # and one image to look at
"""

import argparse
from pathlib import Path

import cv2
from rich.progress import track

from mmrobust import cli
from mmrobust.datasets.minicity import MiniCityParams, overview, write_minicity


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    default = MiniCityParams()
    parser = cli.Parser(__doc__)
    parser.add_argument('--out', default='data/minicity', help='folder to write (default: %(default)s)')
    parser.add_argument('--num-train', type=int, default=default.num_train, help='training streets')
    parser.add_argument('--num-val', type=int, default=default.num_val, help='validation streets')
    parser.add_argument(
        '--num-acdc', type=int, default=default.num_acdc, help='streets of each split drawn in all four conditions too'
    )
    parser.add_argument(
        '--size', type=int, nargs=2, default=default.size, metavar=('WIDTH', 'HEIGHT'), help='image size in pixels'
    )
    parser.add_argument('--seed', type=int, default=default.seed, help='another seed gives other streets')
    parser.add_argument('--overwrite', action='store_true', help='replace a MiniCity written with other parameters')
    parser.add_argument('--preview', type=cli.output_file, metavar='FILE.png', help='also write an overview image')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        if args.preview and not cv2.haveImageWriter(args.preview):
            raise ValueError(f'--preview must name an image file such as FILE.png, got {args.preview!r}')
        params = MiniCityParams(args.num_train, args.num_val, args.num_acdc, tuple(args.size), args.seed)
        written = write_minicity(args.out, params, overwrite=args.overwrite, track=track)
    print(f'MiniCity {"is written" if written else "was there already, nothing to do"}: {args.out}')
    print(f'  Cityscapes layout: {args.out}/leftImg8bit and {args.out}/gtFine')
    if params.num_acdc:
        print(f'  ACDC layout:       {args.out}/acdc')
    if args.preview:
        preview = Path(args.preview)
        preview.parent.mkdir(parents=True, exist_ok=True)
        with cli.one_sentence():
            if not cv2.imwrite(str(preview), overview(params.seed, params.size)[..., ::-1]):
                raise OSError(f'{preview} could not be written')
        print(f'  overview:          {preview}')


if __name__ == '__main__':
    main()
