"""Write a trained model as a folder for the Hugging Face Hub: model.safetensors, config.py and a model card.

    python tools/model_converters/to_hub.py CONFIG CHECKPOINT hub/fan_tap_adl_minicity
    python tools/test.py hub/fan_tap_adl_minicity/config.py hub/fan_tap_adl_minicity/model.safetensors

Nothing is uploaded; `hf upload OWNER/NAME hub/fan_tap_adl_minicity` does that.
"""

import argparse
import sys
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile

# isort: split
from mmrobust.checkpoint import load_checkpoint_file
from mmrobust.hub import write_hub_folder


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Write a trained model as a folder for the Hugging Face Hub.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('folder', help='folder to write; its name is that of the model')
    parser.add_argument('--license', help="the Hub's identifier of the weights' licence, such as apache-2.0")
    cli.add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        config = cli.load_config(args.config, args.cfg_options)
        checkpoint = load_checkpoint_file(args.checkpoint)
        write_hub_folder(args.folder, config, checkpoint, Path(args.folder).resolve().name, args.license)
    print(f'{args.folder}: model.safetensors, config.py, README.md')


if __name__ == '__main__':
    sys.exit(main())
