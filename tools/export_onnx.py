"""Write a model as an ONNX file for pictures of any size, after ONNX Runtime has agreed with PyTorch.

    python tools/export_onnx.py configs/fan_tap_adl_cityscapes.py checkpoint.pth --out fan_tap_adl.onnx

The file takes normalised pictures and gives logits, see mmrobust/onnx_export.py. Nothing is written if the two differ
by more than 1e-4. It needs `pip install "mmrobust[export]"`.
"""

import argparse
import sys

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile

# isort: split
from mmengine.runner import CheckpointLoader

from mmrobust.checkpoint import check_state_dict
from mmrobust.complexity import build
from mmrobust.files import write_whole
from mmrobust.onnx_export import TOLERANCE, compare_onnx, export_onnx

SIZES = [[128, 256], [192, 160]]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Write a model as an ONNX file.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file (default: random weights, to try it out)')
    parser.add_argument('--out', required=True, help='file to write, such as model.onnx')
    parser.add_argument('--opset', type=int, help="version of ONNX's operators (default: what PyTorch prefers)")
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        action='append',
        metavar=('HEIGHT', 'WIDTH'),
        help='picture to compare with, may be given several times; the first is traced too '
        f'(default: {" and ".join(f"{height} x {width}" for height, width in SIZES)})',
    )
    parser.add_argument(
        '--multiple', type=int, default=16, help='what sides must be multiples of (default: %(default)s, as for FAN)'
    )
    cli.add_cfg_options(parser)
    args = parser.parse_args(argv)
    for side in (side for size in args.size or SIZES for side in size):
        if args.multiple < 1 or side < 2 * args.multiple or side % args.multiple:
            parser.error(f'--size takes multiples of {args.multiple}, from two times that on, but got {side}.')
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    sizes = [tuple(size) for size in args.size or SIZES]
    with cli.one_sentence():
        model = build(cli.load_config(args.config, args.cfg_options)).eval()
        if args.checkpoint:
            cli.require_file(args.checkpoint, 'checkpoint')
            weights = CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')
            state_dict = weights.get('state_dict', weights)
            check_state_dict(model.state_dict(), state_dict, args.checkpoint)
            model.load_state_dict(state_dict)
        content = export_onnx(model, sizes[0], args.multiple, args.opset)
        differences = compare_onnx(content, model, sizes)
        for (height, width), difference in zip(sizes, differences, strict=True):
            print(f'{height} x {width}: largest difference {difference:.1e}')
        if not all(difference <= TOLERANCE for difference in differences):  # NaN is no agreement either
            raise ValueError(f'ONNX Runtime and PyTorch differ by more than {TOLERANCE}, so {args.out} is not written')
        write_whole(args.out, content)
    print(f'{args.out}: {len(content) / 1e6:.1f} MB')


if __name__ == '__main__':
    sys.exit(main())
