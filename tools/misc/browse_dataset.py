"""Draw what the model is trained on: images after the training pipeline, with their labels over them.

python tools/misc/browse_dataset.py configs/fan_tap_adl_cityscapes.py --output-dir work_dirs/browse --number 8
python tools/misc/browse_dataset.py CONFIG --split val --output-dir work_dirs/browse
python tools/misc/browse_dataset.py CONFIG --show --wait-time 1
"""

import argparse
import sys
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile

# isort: split
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from mmseg.visualization import SegLocalVisualizer


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--output-dir', type=cli.output_folder, metavar='DIR', help='write the drawn images to this folder'
    )
    parser.add_argument('--show', action='store_true', help='show them in a window')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between two windows (default: 2)')
    parser.add_argument('--number', type=int, help='how many images (default: all)')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train', help='default: train')
    parser.add_argument('--opacity', type=float, default=0.5, help='opacity of the labels, 0 to 1 (default: 0.5)')
    cli.add_cfg_options(parser)
    args = parser.parse_args(argv)
    if not args.show and args.output_dir is None:
        parser.error('give --output-dir, --show or both.')
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        if args.number is not None:
            cli.require_at_least(1, number=args.number)
        config = cli.load_config(args.config, args.cfg_options)
        init_default_scope(config.get('default_scope', 'mmseg'))
        dataset = DATASETS.build(config[f'{args.split}_dataloader'].dataset)
    visualizer = SegLocalVisualizer(name='browse_dataset', alpha=args.opacity)
    visualizer.dataset_meta = dataset.metainfo
    number = min(args.number or len(dataset), len(dataset))
    for index in range(number):
        with cli.one_sentence():
            item = dataset[index]
        sample = item['data_samples']
        name = f'{index:06d}_{Path(sample.img_path).stem}.png'
        visualizer.add_datasample(
            name,
            # (3, H, W) BGR to (H, W, 3) RGB, contiguous: MMSegmentation 1.2.2 draws on nothing else
            item['inputs'].flip(0).permute(1, 2, 0).contiguous().numpy(),
            sample,
            draw_pred=False,
            show=args.show,
            wait_time=args.wait_time,
            out_file=str(Path(args.output_dir) / name) if args.output_dir else None,
        )
    if args.output_dir:
        print(f'{number} of {len(dataset)} images, with their labels: {args.output_dir}')


if __name__ == '__main__':
    sys.exit(main())
