"""Segment a picture, or every picture of a folder, and draw the result over it.

python tools/image_demo.py street.jpg configs/fan_tap_adl_cityscapes.py checkpoint.pth --out-dir work_dirs/demo
"""

import argparse
import sys
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile

# isort: split
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmseg.apis import MMSegInferencer

from mmrobust.checkpoint import check_state_dict
from mmrobust.datasets.transforms import LoadImageFromFile

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Segment a picture, or every picture of a folder.')
    parser.add_argument('img', help='picture, or folder of pictures')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out-dir', default='work_dirs/image_demo', help='output folder (default: %(default)s)')
    parser.add_argument('--device', help='such as cpu or cuda:0 (default: cuda if there is one)')
    parser.add_argument('--opacity', type=float, default=0.5, help='opacity of the classes, 0 to 1 (default: 0.5)')
    return parser.parse_args(argv)


def find_pictures(img: str) -> list[str]:
    """Return the path of the picture, or the sorted paths of the pictures in the folder.

    Raises:
        FileNotFoundError: there is no such picture or folder, or the folder has no picture.
    """
    path = Path(img)
    if path.is_file():
        return [img]
    if not path.is_dir():
        raise FileNotFoundError(f'There is no picture or folder {img!r}.')
    pictures = sorted(str(file) for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not pictures:
        raise FileNotFoundError(f'The folder {img!r} has no picture: none of its files ends in {", ".join(SUFFIXES)}.')
    return pictures


def use_plain_loaders(config: Config) -> None:
    """Name our loaders as MMSegmentation's, because its inferencer finds the step to replace by that name."""
    for step in config.test_dataloader.dataset.pipeline:
        if step.type in ('mmrobust.LoadImageFromFile', 'mmrobust.LoadAnnotations'):
            step.type = step.type.removeprefix('mmrobust.')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        pictures = find_pictures(args.img)
        check = LoadImageFromFile()  # it refuses broken files, and the inferencer does not
        for picture in pictures:
            check({'img_path': picture})
        config = cli.load_config(args.config)
        cli.require_file(args.checkpoint, 'checkpoint')
        use_plain_loaders(config)
        inferencer = MMSegInferencer(config, args.checkpoint, device=args.device)
        # the inferencer itself only warns of weights that do not fit, and draws all the same
        weights = CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')['state_dict']
        check_state_dict(inferencer.model.state_dict(), weights, args.checkpoint)
    inferencer.show_progress = False
    for picture in pictures:
        inferencer(picture, out_dir=args.out_dir, opacity=args.opacity)
        print(f'{picture} -> {Path(args.out_dir) / "vis" / Path(picture).name}')


if __name__ == '__main__':
    sys.exit(main())
