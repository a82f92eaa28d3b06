"""Count parameters and multiply-accumulate operations (MACs) of a model and of its parts.

python tools/analysis_tools/get_flops.py configs/fan_tap_adl_cityscapes.py --shape 1024 2048
python tools/analysis_tools/get_flops.py configs/fan_tap_imagenet.py --shape 224
python tools/analysis_tools/get_flops.py CONFIG --shape 512 --cfg-options model.backbone.drop_path_rate=0

One MAC is one multiplication and one addition, that is two FLOPs; papers on vision transformers, this project's among
them, print MACs under the name FLOPs. Counted are convolutions and matrix products, attention's two included; not
counted are pooling, normalisation, activations and resizing. PyTorch counts from shapes alone, so nothing is computed.
"""

import argparse
import sys

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile

# isort: split
from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from mmrobust.complexity import build, count, parameters_of


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='SIZE',
        help="height and width of the input in pixels, or one number for a square (default: the config's crop_size)",
    )
    cli.add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.shape is not None and (len(args.shape) > 2 or min(args.shape) < 1):
        parser.error(f'--shape takes one or two positive numbers, but got {args.shape}.')
    return args


def input_shape(config: Config, shape: list[int] | None) -> tuple[int, int]:
    """Return height and width in pixels.

    Raises:
        ValueError: neither the command line nor the configuration gives them.
    """
    shape = shape or config.get('crop_size')
    if shape is None:
        raise ValueError('The config has no crop_size, so give --shape HEIGHT WIDTH.')
    return shape[0], shape[-1]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        config = cli.load_config(args.config, args.cfg_options)
        height, width = input_shape(config, args.shape)
        model = build(config)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    caption = '1 MAC = 2 FLOPs'
    if trained < parameters_of(model):
        caption += f', {trained / 1e6:.3f} M are trained'
    table = Table(title=f'input 1 x 3 x {height} x {width}', caption=caption)
    for column in ('part', 'parameters [M]', 'MACs [G]'):
        table.add_column(column, justify='left' if column == 'part' else 'right')
    for name, (parameters, macs) in count(model, (height, width)).items():
        if parameters or macs:
            table.add_row(name, f'{parameters / 1e6:.3f}', f'{macs / 1e9:.3f}')
    Console().print(table)


if __name__ == '__main__':
    sys.exit(main())
