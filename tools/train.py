"""Train a segmentation or a classification model.

python tools/train.py configs/fan_tap_adl_cityscapes.py --amp
python tools/train.py CONFIG --work-dir work_dirs/mine --resume
torchrun --nproc_per_node 8 tools/train.py CONFIG --launcher pytorch
"""

import argparse
import re
import sys
import warnings
from contextlib import ExitStack

from mmrobust import cli  # first: it checks the OpenMMLab stack, and prepares it for Config.fromfile

# isort: split
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS
from mmengine.runner import Runner, find_latest_checkpoint

from mmrobust.engine.checkpoint_hook import saved_checkpoints
from mmrobust.engine.compile import explained_compile_errors
from mmrobust.engine.strict_load import require_fit
from mmrobust.folders import lock_folder
from runs import add_launcher, enable_amp, init_cpu_group, is_first_process, require_settings, set_run


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder of logs and checkpoints (default: work_dirs/<config name>)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='auto|PATH',
        help='continue from the newest whole checkpoint in the working directory, if there is one, or from PATH',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=['auto', 'bfloat16', 'float16'],
        help="mixed precision: bfloat16 where the device computes in it, else float16, whose loss is scaled; 'auto', "
        'which is --amp alone, keeps the dtype that an AmpOptimWrapper of the config names',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='torch.compile backbone and heads for training (mmrobust.CompileHook); it pays on a GPU',
    )
    parser.add_argument(
        '--cuda-graphs',
        action='store_true',
        help='--compile, and launch the kernels of a part all at once: for small networks or batches on a GPU, in '
        'batches of one shape',
    )
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate during training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the batch size of all processes over auto_scale_lr.base_batch_size',
    )
    cli.add_cfg_options(parser)
    add_launcher(parser)
    return parser.parse_args(argv)


def require_optimizer(config: Config) -> None:
    """Raise ValueError for a type of optimizer that nobody has registered, which MMEngine does not name."""
    kind = (config.optim_wrapper.get('optimizer') or {}).get('type')
    with OPTIMIZERS.switch_scope_and_registry(config.get('default_scope')) as registry:
        if isinstance(kind, str) and registry.get(kind) is None:
            raise ValueError(
                f'optim_wrapper.optimizer.type must be a registered optimizer such as AdamW or SGD, got {kind!r}: '
                'check its spelling, or name its package in custom_imports.'
            )


def merge_args(config: Config, args: argparse.Namespace) -> None:
    """Write the command line into the configuration.

    Raises:
        ValueError: the configuration does not have what an option needs.
        FileNotFoundError: there is no checkpoint to resume from at the given path.
    """
    set_run(config, args)
    require_settings(config, 'train', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    require_optimizer(config)
    lost = lost_hooks(config)
    if lost:
        warnings.warn(
            f'The config drops the hooks {", ".join(lost)} of its bases: write custom_hooks = _base_.custom_hooks + '
            '[...] to add to them.',
            stacklevel=2,
        )
    if args.no_validate:
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
    if args.amp:
        enable_amp(config, args.amp)
    if args.compile or args.cuda_graphs:
        enable_compile(config, args.cuda_graphs)
    if args.auto_scale_lr:
        if config.get('auto_scale_lr', {}).get('base_batch_size') is None:
            raise ValueError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config, which has none.')
        config.auto_scale_lr.enable = True
    # a first start with --resume keeps the config's own load_from, such as pretrained weights
    if args.resume == 'auto':
        saving = config.get('default_hooks', {}).get('checkpoint') or {}
        names = {key: saving.get(key) for key in ('out_dir', 'filename_tmpl')}
        if find_latest_checkpoint(config.work_dir) or saved_checkpoints(config.work_dir, **names):
            config.resume = True
            config.load_from = None  # the runner finds it again, and the checkpoint hook sees whether it is whole
    elif args.resume is not None:
        cli.require_file(args.resume, 'checkpoint')
        config.resume = True
        config.load_from = args.resume
    require_fit(config, strict=bool(config.get('resume')))


def lost_hooks(config: Config) -> list[str]:
    """mmrobust's hooks that the config's file or its bases name, and the merged config does not."""
    written = re.findall(r"""\btype\W+(mmrobust\.\w+Hook)\b""", re.sub('#.*', '', config.text))
    hooks = [*(config.get('custom_hooks') or []), *(config.get('default_hooks') or {}).values()]
    kept = {str(hook.get('type')).rpartition('.')[2] for hook in hooks if hook}
    return [name for name in dict.fromkeys(written) if name.rpartition('.')[2] not in kept]


def enable_compile(config: Config, cuda_graphs: bool) -> None:
    """Add ``mmrobust.CompileHook``, or switch on what the config's own one leaves off.

    Raises:
        ValueError: the configuration compiles the whole step by MMEngine's key.
    """
    if config.get('compile'):
        raise ValueError("--compile needs a config without MMEngine's key 'compile', which compiles the whole step.")
    hooks = config.setdefault('default_hooks', {})
    hooks['compile'] = {'type': 'mmrobust.CompileHook', **(hooks.get('compile') or {})}
    if cuda_graphs:
        hooks['compile']['cuda_graphs'] = True


def build_optimizer(runner: Runner) -> None:
    """Build the optimizer before the run does, because what does not fit there is the configuration's.

    Raises:
        ValueError: its constructor does not know the layers of the model, or it is for a GPU.
    """
    given = runner.optim_wrapper or {}  # None: there is nothing to train, which the run says
    try:
        runner.optim_wrapper = given and runner.build_optim_wrapper(given)
    except NotImplementedError as error:  # MMSegmentation's and MMPretrain's layer-wise decay
        raise ValueError(
            'optim_wrapper.constructor must know the layers of the model, got '
            f'{given.get("constructor")}: leave it out and give learning rates by '
            'optim_wrapper.paramwise_cfg.custom_keys, such as {"backbone.blocks.0": dict(lr_mult=0.5)}.'
        ) from error
    except AssertionError as error:
        if 'Amp' not in str(error):
            raise
        raise ValueError(
            'optim_wrapper.type must be OptimWrapper or BFloat16OptimWrapper on a CPU, got AmpOptimWrapper: pass '
            '--amp, which takes the one that suits the machine.'
        ) from error


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with ExitStack() as until_the_end:
        with cli.one_sentence():
            config = cli.load_config(args.config, args.cfg_options)
            merge_args(config, args)
        with cli.one_sentence(writes_to=config.work_dir):
            if is_first_process(args.launcher):
                until_the_end.enter_context(lock_folder(config.work_dir))
            init_cpu_group(config)
            runner = Runner.from_cfg(config)
            build_optimizer(runner)
        # data or weights that are not what the config says, a full disk, a loss that is not finite
        with cli.one_sentence((OSError, ValueError, FloatingPointError), config.work_dir), explained_compile_errors():
            runner.train()


if __name__ == '__main__':
    sys.exit(main())
