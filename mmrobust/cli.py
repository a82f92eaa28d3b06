"""What the command line tools share: common options, reading a configuration, and a user's mistake as one sentence."""

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config, DictAction

from mmrobust.compat import import_quietly

# nearly every tool needs them, and would print what they print
for module in ('mmseg.datasets', 'mmpretrain.datasets'):
    import_quietly(module)
# MMCV's, on the first import of a model: it misses compiled operators, of which none is used
warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')

# what a wrong path, a wrong value or a wrong name in a configuration raises
# (OpenMMLab's own modules check their arguments with assert)
USER_ERRORS = (OSError, ValueError, TypeError, KeyError, SyntaxError, ImportError, AssertionError)


@contextmanager
def one_sentence(kinds: tuple[type[Exception], ...] = USER_ERRORS) -> Iterator[None]:
    """Turn an error of these kinds into one sentence on stderr and exit code 2.

    ``python -X dev`` shows the traceback all the same.

    Raises:
        SystemExit: with code 2, in place of the error.
    """
    try:
        yield
    except kinds as error:
        if sys.flags.dev_mode:
            raise
        # str(KeyError) is the repr of its message, with quotes around it
        message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        if message.startswith('Caught '):  # by a DataLoader worker, with its traceback: the error itself is last
            message = message.rstrip().rpartition(f'\n{type(error).__name__}: ')[2]
        print(f'{Path(sys.argv[0]).name}: error: {message}', file=sys.stderr)
        raise SystemExit(2) from None


class CfgOptions(DictAction):
    """``DictAction`` that names the option it cannot split into a key and a value."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        for value in values:
            if '=' not in value:
                parser.error(f'{option_string} takes key=value pairs, but got {value!r}.')
        super().__call__(parser, namespace, values, option_string)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options key=value ...``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        metavar='KEY=VALUE',
        help='override settings of the config, for example model.backbone.depth=12 or "crop_size=[512,512]" '
        '(quoted, without spaces inside a list)',
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` and the ``--local-rank`` that ``torch.distributed.launch`` passes."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes of a distributed run',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(path: str, cfg_options: dict | None = None) -> Config:
    """Read a configuration file and merge ``--cfg-options`` into it.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no config file {path!r}.')
    config = Config.fromfile(path)
    if cfg_options:
        config.merge_from_dict(cfg_options)
    return config


def set_run(config: Config, args: argparse.Namespace) -> None:
    """Set launcher and working directory: ``--work-dir``, else the config's own, else ``work_dirs/<config name>``."""
    config.launcher = args.launcher
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config.work_dir = args.work_dir or config.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)


def require_file(path: str, kind: str) -> None:
    """Check that a file is there, unless it is an address such as ``https://...`` that only its loader understands.

    Args:
        path (str): what the user gave.
        kind (str): what it should be, for the message: "checkpoint".

    Raises:
        FileNotFoundError: there is no such file.
    """
    if '://' not in path and not Path(path).is_file():
        raise FileNotFoundError(f'There is no {kind} {path!r}.')
