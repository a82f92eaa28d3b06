"""Segment an image, or every image of a folder, and draw the result over it.

python tools/image_demo.py street.jpg configs/fan_tap_adl_cityscapes.py checkpoint.pth --out-dir work_dirs/demo
python tools/image_demo.py images CONFIG CHECKPOINT --out-dir work_dirs/demo --opacity 0.8
python tools/image_demo.py street.jpg CONFIG CHECKPOINT --device cpu
"""

import argparse
import sys
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile

# isort: split
from mmengine.runner import CheckpointLoader
from mmseg.apis import MMSegInferencer

from mmrobust.checkpoint import fitting
from mmrobust.datasets.image_folder import IMAGE_SUFFIXES
from mmrobust.datasets.transforms import LoadImageFromFile
from mmrobust.files import nothing_at


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('img', help='image, or folder of images')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out-dir', type=cli.output_folder, default='work_dirs/image_demo', help='output folder (default: %(default)s)'
    )
    parser.add_argument('--device', type=cli.device, help='such as cpu or cuda:0 (default: cuda if there is one)')
    parser.add_argument('--opacity', type=float, default=0.5, help='opacity of the classes, 0 to 1 (default: 0.5)')
    return parser.parse_args(argv)


def find_images(img: str) -> list[str]:
    """Return the path of the image, or the sorted paths of the images in the folder.

    Raises:
        FileNotFoundError: there is no such image or folder, or the folder has no image.
    """
    path = Path(img)
    if path.is_file():
        return [img]
    if not path.is_dir():
        raise nothing_at('image or folder', img)
    images = sorted(str(file) for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise FileNotFoundError(
            f'The folder {img!r} has no image: none of its files ends in {", ".join(IMAGE_SUFFIXES)}.'
        )
    return images


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        images = find_images(args.img)
        check = LoadImageFromFile()  # it refuses broken files, all of them before the model is built
        for image in images:
            check({'img_path': image})
        config = cli.load_config(args.config)
        cli.require_file(args.checkpoint, 'checkpoint')
        inferencer = MMSegInferencer(config, args.checkpoint, device=args.device)
        # the inferencer itself only warns of weights that do not fit, and draws all the same
        weights = CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')
        fitting(inferencer.model, weights, args.checkpoint)
    inferencer.show_progress = False
    for image in images:
        inferencer(image, out_dir=args.out_dir, opacity=args.opacity)
        print(f'{image} -> {Path(args.out_dir) / "vis" / Path(image).name}')


if __name__ == '__main__':
    sys.exit(main())
