"""Test a checkpoint with the metrics of its config.

python tools/test.py configs/fan_tap_adl_cityscapes.py work_dirs/fan_tap_adl_cityscapes/iter_160000.pth
python tools/test.py CONFIG CHECKPOINT --out test.zip \\
    --cfg-options test_dataloader.dataset.data_prefix.img_path=leftImg8bit/test   # a zip for the Cityscapes server
torchrun --nproc_per_node 8 tools/test.py CONFIG CHECKPOINT --launcher pytorch
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile

# isort: split
import mmengine
import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.datasets import CityscapesDataset
from PIL import Image
from torch.utils.data import Dataset

from mmrobust.datasets.acdc import ACDCDataset
from mmrobust.datasets.cityscapes import LabelsMissingError
from mmrobust.datasets.corrupted import refuse_wrapper
from mmrobust.datasets.labels import why_unlabelled, without_labels
from mmrobust.datasets.transforms.corrupt import name_below
from mmrobust.engine.strict_load import require_fit
from mmrobust.evaluation.submission import SERVERS, Server, write_submission
from runs import add_launcher, init_cpu_group, require_settings, set_run


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder of the logs (default: work_dirs/<config name>)')
    parser.add_argument(
        '--out',
        type=lambda out: (cli.output_folder if is_folder(out) else cli.output_file)(out),
        metavar='DIR|FILE',
        help="where to write: metrics to a .json file, raw predictions to a .pkl file, or a segmentation model's "
        'label maps as PNG files to a folder, below which they lie as the images below theirs; NAME.zip packs those '
        'of the folder NAME for the server of Cityscapes or ACDC',
    )
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument(
        '--show-dir', type=cli.output_folder, metavar='DIR', help='write drawn predictions to this folder'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between two windows (default: 2)')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    cli.add_cfg_options(parser)
    add_launcher(parser)
    return parser.parse_args(argv)


def merge_args(config: Config, args: argparse.Namespace) -> None:
    """Write the command line into the configuration.

    Raises:
        ValueError: the configuration does not have what an option needs.
        FileNotFoundError: there is no checkpoint at the given path.
    """
    set_run(config, args)
    require_settings(config, 'test', 'test_dataloader', 'test_evaluator', 'test_cfg')
    cli.require_file(args.checkpoint, 'checkpoint')
    config.load_from = args.checkpoint
    config.resume = False
    require_fit(config, strict=True)
    if args.show or args.show_dir:
        draw_predictions(config, args)
    if args.tta:
        if 'tta_model' not in config or 'tta_pipeline' not in config:
            raise ValueError('--tta needs tta_model and tta_pipeline in the config, which has not both.')
        refuse_wrapper(config.test_dataloader.dataset)
        config.test_dataloader.dataset.pipeline = config.tta_pipeline
        config.model = ConfigDict(config.tta_model, module=config.model)
    if config.get('default_scope') == 'mmseg':
        settle_labels(config, args)
    elif args.out is not None and is_folder(args.out):
        raise ValueError(f'--out takes a .json or .pkl file for a classification model, but got {args.out!r}.')


def is_folder(out: str) -> bool:
    return Path(out).suffix not in ('.json', '.pkl')


def settle_labels(config: Config, args: argparse.Namespace) -> None:
    """Leave out labels and metrics, and say so, where images have no labels and predictions are asked for.

    Raises:
        ValueError: images have no labels, and only metrics are asked for.
        FileNotFoundError: the same, where label files are named but none is there.
    """
    dataset = config.test_dataloader.dataset
    predictions = args.show or args.show_dir or (args.out is not None and not args.out.endswith('.json'))
    try:
        with DefaultScope.overwrite_default_scope('mmseg'):
            reason = why_unlabelled(dataset)
    except LabelsMissingError as error:
        if not (predictions and error.all_missing):
            raise
        reason = str(error).rstrip('.')
    if not reason:
        return
    if not predictions:
        raise ValueError(
            f'There is nothing to measure: {reason}; --out DIR writes the predictions, and --out NAME.zip packs them '
            'for the server of Cityscapes or ACDC.'
        )
    print(f'No metrics: {reason}.')
    config.test_dataloader.dataset = without_labels(dataset)
    config.test_evaluator = []


def server_of(dataset: Dataset) -> Server:
    """The server that takes predictions for a data set.

    Raises:
        ValueError: there is none.
    """
    for kind, name in ((ACDCDataset, 'acdc'), (CityscapesDataset, 'cityscapes')):
        if isinstance(dataset, kind):
            return SERVERS[name]
    raise ValueError(
        f'--out takes a .zip for data of CityscapesDataset or ACDCDataset, whose servers want one, got '
        f'{type(dataset).__name__}: give a folder.'
    )


class LabelMaps(BaseMetric):
    """Writes label maps as PNG files, (H, W) uint8, which lie below a folder as the images lie below theirs.

    Args:
        folder: made if need be.
        dataset: whose images are tested.

    Raises:
        ValueError: two images would have the same label map.
    """

    def __init__(self, folder: str, dataset: Dataset) -> None:
        super().__init__()
        paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
        below = getattr(dataset, 'data_prefix', {}).get('img_path') or os.path.commonpath(map(os.path.dirname, paths))
        self.files = {path: Path(folder, name_below(below, path)).with_suffix('.png') for path in paths}
        images = {file: path for path, file in self.files.items()}
        for path, file in self.files.items():
            if images[file] != path:
                raise ValueError(f'The images must have names of their own, got {path} and {images[file]} for {file}.')

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            label = sample['pred_sem_seg']['data'].squeeze().cpu().numpy() + bool(sample.get('reduce_zero_label'))
            file = self.files[sample['img_path']]
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(label.astype(np.uint8)).save(file)
            self.results.append(None)

    def compute_metrics(self, results: list) -> dict:
        return {}


def draw_predictions(config: Config, args: argparse.Namespace) -> None:
    """Switch on the hook that draws predictions; the two scopes name its settings differently.

    Raises:
        ValueError: the configuration has no such hook.
    """
    hook = config.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ValueError('--show and --show-dir need default_hooks.visualization in the config, which has none.')
    hook.update(show=args.show, wait_time=args.wait_time, interval=1)
    if config.get('default_scope') == 'mmpretrain':
        hook.update(enable=True, out_dir=args.show_dir)
    else:
        hook.update(draw=True)
        if args.show_dir:
            config.visualizer.save_dir = args.show_dir


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        config = cli.load_config(args.config, args.cfg_options)
        merge_args(config, args)
        init_cpu_group(config)
        runner = Runner.from_cfg(config)
    with cli.one_sentence((OSError, ValueError)):  # data or weights that are not what the config says
        maps = server = None
        if args.out and args.out.endswith('.pkl'):
            runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
        elif args.out and is_folder(args.out):
            dataset = runner.test_loop.dataloader.dataset
            server = server_of(dataset) if args.out.endswith('.zip') else None
            maps = LabelMaps(args.out.removesuffix('.zip'), dataset)
            runner.test_evaluator.metrics.append(maps)
        metrics = runner.test()
        if server and mmengine.dist.is_main_process():
            files = {Path(image).name: file for image, file in maps.files.items()}
            print(*write_submission(files, args.out, server), sep='\n')
    if args.out and args.out.endswith('.json') and mmengine.dist.is_main_process():
        mmengine.dump(metrics, args.out)


if __name__ == '__main__':
    sys.exit(main())
