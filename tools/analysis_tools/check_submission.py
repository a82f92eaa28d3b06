"""Check a zip of predictions before it is sent to the server of Cityscapes or ACDC.

python tools/analysis_tools/check_submission.py cityscapes submission.zip --data-root data/cityscapes
python tools/analysis_tools/check_submission.py acdc submission.zip --data-root data/acdc
python tools/analysis_tools/check_submission.py acdc fog.zip --conditions fog
"""

import argparse
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
from mmrobust.datasets.acdc import CONDITIONS, SPLITS, ACDCDataset, find_images
from mmrobust.datasets.cityscapes import CityscapesDataset
from mmrobust.evaluation.submission import SERVERS, check_submission


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('server', choices=SERVERS, help='for which server')
    parser.add_argument('zip', help='the submission')
    parser.add_argument('--data-root', help='folder of the data set (default: data/cityscapes or data/acdc)')
    parser.add_argument('--split', choices=SPLITS, default='test', help='which images (default: %(default)s)')
    parser.add_argument(
        '--conditions',
        nargs='+',
        choices=CONDITIONS,
        default=CONDITIONS,
        help='which conditions of ACDC (default: all)',
    )
    parser.add_argument(
        '--expected-images',
        type=int,
        metavar='N',
        help="how many images the split must have (default: of test, Cityscapes' 1525, ACDC's 500 of each condition)",
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('WIDTH', 'HEIGHT'),
        help="size of every prediction in pixels (default: Cityscapes' 2048 1024, ACDC's 1920 1080)",
    )
    return parser.parse_args(argv)


def find_names(args: argparse.Namespace) -> list[str]:
    """Names of the images of a split.

    Raises:
        ValueError: there are no images, or not as many as there must be.
        FileNotFoundError: there is no such data set.
    """
    root = args.data_root or f'data/{args.server}'
    if args.server == 'acdc':
        paths = [image.path for image in find_images(root, args.split, args.conditions)]
        expected = 500 * len(args.conditions)
    else:
        data = CityscapesDataset(
            data_root=root, data_prefix=dict(img_path=f'leftImg8bit/{args.split}'), test_mode=True, pipeline=[]
        )
        paths = [data.get_data_info(index)['img_path'] for index in range(len(data))]
        expected = 1525
    expected = args.expected_images or (expected if args.split == 'test' else len(paths))
    if len(paths) != expected:
        raise ValueError(
            f'The split {args.split} in {root} must have {expected} images, got {len(paths)}: unzip all of it there, '
            f'or give --expected-images {len(paths)} where there are no more.'
        )
    return [Path(path).name for path in paths]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    server = SERVERS[args.server]
    with cli.one_sentence():
        names = find_names(args)
        size = tuple(args.size or server.size)
        pixels = check_submission(args.zip, names, server, size)
    print(f'OK: {len(names)} predictions of {size[0]} x {size[1]} pixels.')
    for name, share in zip(ACDCDataset.METAINFO['classes'], pixels / pixels.sum(), strict=True):
        print(f'{name:>15} {share:7.2%}')


if __name__ == '__main__':
    main()
