"""Test a checkpoint with the metrics of its config.

python tools/test.py configs/fan_tap_adl_cityscapes.py work_dirs/fan_tap_adl_cityscapes/iter_160000.pth
torchrun --nproc_per_node 8 tools/test.py CONFIG CHECKPOINT --launcher pytorch
"""

import argparse
import sys
from pathlib import Path

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile

# isort: split
import mmengine
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults
from mmengine.runner import Runner

from mmrobust.datasets.corrupted import refuse_wrapper
from mmrobust.engine.any_device import init_cpu_group
from mmrobust.engine.strict_load import require_fit


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test a checkpoint with the metrics of its config.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder of the logs (default: work_dirs/<config name>)')
    parser.add_argument(
        '--out',
        type=lambda out: (cli.output_folder if is_folder(out) else cli.output_file)(out),
        metavar='DIR|FILE',
        help="where to write: metrics to a .json file, raw predictions to a .pkl file, or a segmentation model's "
        'label maps as PNG files to a folder',
    )
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument(
        '--show-dir', type=cli.output_folder, metavar='DIR', help='write drawn predictions to this folder'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between two windows (default: 2)')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    cli.add_cfg_options(parser)
    cli.add_launcher(parser)
    return parser.parse_args(argv)


def merge_args(config: Config, args: argparse.Namespace) -> None:
    """Write the command line into the configuration.

    Raises:
        ValueError: the configuration does not have what an option needs.
        FileNotFoundError: there is no checkpoint at the given path.
    """
    cli.set_run(config, args)
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
    if args.out is not None and is_folder(args.out):
        if config.get('default_scope') != 'mmseg':
            raise ValueError(f'--out takes a .json or .pkl file for a classification model, but got {args.out!r}.')
        evaluators = config.test_evaluator if isinstance(config.test_evaluator, list) else [config.test_evaluator]
        evaluators[0].output_dir = args.out


def is_folder(out: str) -> bool:
    return Path(out).suffix not in ('.json', '.pkl')


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
        if args.out and args.out.endswith('.pkl'):
            runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
        metrics = runner.test()
    if args.out and args.out.endswith('.json') and mmengine.dist.is_main_process():
        mmengine.dump(metrics, args.out)


if __name__ == '__main__':
    sys.exit(main())
