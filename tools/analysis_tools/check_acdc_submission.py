"""Check a zip of predictions before it is sent to the server of ACDC.

python tools/analysis_tools/check_acdc_submission.py submission.zip --data-root data/acdc
python tools/analysis_tools/check_acdc_submission.py fog.zip --data-root data/acdc --conditions fog
"""

import argparse

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
from mmrobust.datasets.acdc import CONDITIONS, SPLITS, ACDCDataset, find_images
from mmrobust.evaluation.acdc_submission import SERVER_SIZE, check_submission


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Check a zip of predictions for the server of ACDC.')
    parser.add_argument('zip', help='the submission')
    parser.add_argument('--data-root', default='data/acdc', help='folder of ACDC (default: %(default)s)')
    parser.add_argument('--split', choices=SPLITS, default='test', help='which images (default: %(default)s)')
    parser.add_argument(
        '--conditions', nargs='+', choices=CONDITIONS, default=CONDITIONS, help='which conditions (default: all)'
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        default=SERVER_SIZE,
        metavar=('WIDTH', 'HEIGHT'),
        help='size of every prediction in pixels (default: %(default)s)',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        images = find_images(args.data_root, args.split, args.conditions)
        names = [image.path.rpartition('/')[2] for image in images]
        pixels = check_submission(args.zip, names, tuple(args.size))
    print(f'OK: {len(names)} predictions of {args.size[0]} x {args.size[1]} pixels.')
    for name, share in zip(ACDCDataset.METAINFO['classes'], pixels / pixels.sum(), strict=True):
        print(f'{name:>15} {share:7.2%}')


if __name__ == '__main__':
    main()
