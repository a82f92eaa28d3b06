"""Print a config with its bases and ``--cfg-options`` merged.

python tools/misc/print_config.py configs/fan_tap_adl_cityscapes.py --cfg-options train_dataloader.batch_size=1
python tools/misc/print_config.py configs/fan_tap_adl_minicity.py
python tools/misc/print_config.py CONFIG --cfg-options "model.test_cfg.crop_size=[512,512]"
"""

import argparse
import sys

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile


# isort: split
def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('config', help='config file')
    cli.add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        print(cli.load_config(args.config, args.cfg_options).pretty_text)


if __name__ == '__main__':
    sys.exit(main())
