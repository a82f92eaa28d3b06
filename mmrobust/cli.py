"""Shared by the command line tools: common options, reading configs, a user's mistake as one sentence."""

import argparse
import difflib
import errno
import inspect
import io
import logging
import os
import re
import select
import shutil
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from torch.distributed import DistError

from mmrobust.compat import import_quietly, own_file
from mmrobust.files import nothing_at
from mmrobust.preprocessing import settle_preprocessing
from mmrobust.processes import NO_SHARED_MEMORY, end_loaders_that_cannot_hand_over

# nearly every tool needs them, and would print what they print
for module in ('mmseg.datasets', 'mmpretrain.datasets'):
    import_quietly(module)
# MMCV's, on the first import of a model: it misses compiled operators, of which none is used
warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')

end_loaders_that_cannot_hand_over()

logging.raiseExceptions = False  # no traceback where a log cannot be written or encoded
for _stream in (sys.stdout, sys.stderr):
    if isinstance(_stream, io.TextIOWrapper) and not _stream.encoding.lower().startswith('utf'):
        _stream.reconfigure(errors='backslashreplace')

# first parts of settings that need not be in a config: what MMEngine's runner or this package reads
_READ = {*inspect.signature(Runner).parameters, 'sync_bn', 'model_wrapper_cfg', 'find_unused_parameters', 'compile'} | {
    *('activation_checkpointing', 'efficient_conv_bn_eval', 'custom_imports', 'class_map', 'tta_model', 'tta_pipeline')
}

OF_TIMM = 'timm:'
# what a wrong path, a wrong value or a wrong name in a configuration raises
# (OpenMMLab's own modules check their arguments with assert)
USER_ERRORS = (OSError, ValueError, TypeError, KeyError, SyntaxError, ImportError, AssertionError)


@contextmanager
def one_sentence(kinds: tuple[type[Exception], ...] = USER_ERRORS, writes_to: str | None = None) -> Iterator[None]:
    """Turn an error of these kinds, and some of loaders and other ranks, into one sentence and exit code 2.

    The sentence is on stderr. ``python -X dev`` shows the traceback all the same.

    Args:
        kinds: of errors.
        writes_to: what to name where a disk is full and the error names no file.

    Raises:
        SystemExit: with code 2, in place of the error.
    """
    try:
        if _nobody_reads():
            raise BrokenPipeError
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except Exception as error:
        _stop_watching_loaders()
        dead_loader = _of_dead_loader(error)
        known = _of_library(error)
        if sys.flags.dev_mode or not (dead_loader or known or isinstance(error, kinds)):
            raise
        # str(KeyError) is the repr of its message, with quotes around it
        message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        if message.startswith('Caught '):  # by a DataLoader worker, with its traceback: the error itself is last
            message = re.split(rf'\n(?:\w+\.)*{type(error).__name__}: ', message.rstrip())[-1]
        if dead_loader and _lacks_shared_memory(dead_loader):
            message = (
                'Loading processes hand images over in shared memory, and /dev/shm is full: give the container more '
                f'than {_size_of("/dev/shm")}, as docker run --shm-size=8g does, or take fewer num_workers, of which 0 '
                'needs none.'
            )
        elif dead_loader:
            message = (
                f'A process that loads images has died ({str(dead_loader).strip().rstrip(".")}): mostly memory was '
                'short, of which fewer num_workers need less.'
            )
        elif known:
            message = known
        elif isinstance(error, FileNotFoundError) and error.filename is not None:  # the system's own words
            message = (
                f'There is no {str(error.filename)!r}: check the path, seen from {os.getcwd()}, or data_root and '
                'data_prefix of the config.'
            )
        elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
            message += f', writing to {writes_to}' if writes_to else ''
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            message = 'Nobody reads the output any more: send it to a file, or to a program that reads it to the end.'
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python tries again at its end
        if not message.strip():  # an assert of OpenMMLab's own
            last = traceback.extract_tb(error.__traceback__)[-1]
            message = f'{type(error).__name__} in {last.name} of {last.filename}: {last.line}'
        message = re.sub(r'\s*\n\s*', ' ', message.strip())
        print(f'{Path(sys.argv[0]).name}: error: {message}', file=sys.stderr)
        raise SystemExit(2) from None


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose reader is gone."""
    if sys.stdout is None or not hasattr(select, 'poll'):  # closed, or Windows
        return False
    poller = select.poll()
    poller.register(1, 0)
    return any(event & select.POLLERR for _, event in poller.poll(0))


def _stop_watching_loaders() -> None:
    """Let no other dead loading process interrupt the report: PyTorch raises in the middle of anything."""
    if threading.current_thread() is threading.main_thread():
        for _ in range(2):  # the first time raises what has come already
            with suppress(RuntimeError):
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _of_dead_loader(error: BaseException | None) -> BaseException | None:
    """PyTorch's error for a dead loading process, or the broken pipe that came first; else None.

    Whatever it interrupted may have made another error of it.
    """
    while error is not None:
        files = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))
        if isinstance(error, (OSError, EOFError)) and any('multiprocessing' in file for file in files):
            return error
        if isinstance(error, RuntimeError) and str(error).startswith('DataLoader worker (pid'):
            return error
        error = error.__cause__ or error.__context__
    return None


def _lacks_shared_memory(error: BaseException | None) -> bool:
    said = f'exit code {NO_SHARED_MEMORY}', 'out of shared memory'
    while error is not None:
        if getattr(error, 'errno', None) == errno.ENOSPC or any(text in str(error) for text in said):
            return True
        error = error.__cause__ or error.__context__
    return False


def _size_of(disk: str) -> str:
    return f'{shutil.disk_usage(disk).total / 2**20:.3g} MiB' if os.path.isdir(disk) else 'it has'


def _of_library(error: Exception) -> str | None:
    """Sentence for errors of PyTorch and OpenMMLab whose own words do not help; None for others."""
    text = str(error)
    if isinstance(error, DistError) or (isinstance(error, RuntimeError) and 'gloo' in text.lower()):
        reason = re.sub(r'^\[.*?\] ', '', text.strip().splitlines()[0]).split('. ')[0].rstrip('.')
        return f'Another process of this run has died or does not answer ({reason}): its own output says why.'
    if re.search('image size in a batch should be the same|stack expects each tensor to be equal size', text):
        return (
            'The images of a batch must be of one size, got several: take one image per batch (--batch-size 1, or '
            '--cfg-options test_dataloader.batch_size=1 val_dataloader.batch_size=1), or bring all to one size in the '
            'pipeline.'
        )
    unknown = re.match(r'(\S+) is not in the (\S+) registry', str(error.args[0] if error.args else ''))
    if isinstance(error, KeyError) and unknown:
        return (
            f'A type in the config must be registered, got {unknown[1]!r}, which is not in the registry {unknown[2]}: '
            'check its spelling, and that custom_imports names the package that has it.'
        )
    return None


class Parser(argparse.ArgumentParser):
    """Parser of a tool, with the docstring of its module as help, a short usage line, and a mistake as one sentence.

    Args:
        doc: what the tool does; then its examples, a line each that begins with ``python``; then what else to know.
        **kwargs: as of ``ArgumentParser``.
    """

    def __init__(self, doc: str | None, **kwargs: Any) -> None:
        about, _, rest = (doc or '').strip().partition('\n\n')
        super().__init__(description=about, epilog=f'examples:\n\n{rest}', formatter_class=_Help, **kwargs)

    def error(self, message: str) -> None:
        """Exit with code 2 and one sentence."""
        self.exit(2, f'{self.prog}: error: {message.rstrip(".")}: see {self.prog} --help.\n')


class _Help(argparse.RawDescriptionHelpFormatter):
    """Names in the usage line what must be given; the options follow below it."""

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        words = ['%(prog)s']
        for action in actions:
            if not action.option_strings:
                words.append(self._format_args(action, self._get_default_metavar_for_positional(action)))
            elif action.required:
                metavar = self._get_default_metavar_for_optional(action)
                words.append(f'{action.option_strings[0]} {self._format_args(action, metavar)}')
        super().add_usage(usage or ' '.join([*words, '[options]']), actions, groups, prefix)


class CfgOptions(DictAction):
    """``DictAction`` that keeps spaces inside words, and names the option that it cannot read."""

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
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as error:  # of brackets
            parser.error(f'{option_string} {error}.')

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        """MMEngine's removes all spaces, those of a path too: it is shown another character in their place."""
        text = val.strip().strip('\'"')
        if not text.startswith(('(', '[')) and ',' not in text:
            return DictAction._parse_int_float_bool(text)
        text = re.sub(r'(?<=[\[(,])\s+|\s+(?=[\]),])', '', text)
        return _with_spaces(DictAction._parse_iterable(text.replace(' ', _SPACE)))


_SPACE = '\0'  # in no argument of a program


def _with_spaces(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_with_spaces, value))
    return value.replace(_SPACE, ' ') if isinstance(value, str) else value


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options key=value ...``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        metavar='KEY=VALUE',
        help='override settings of the config, for example model.backbone.drop_path_rate=0.2 or '
        '"model.test_cfg.crop_size=[512,512]" (quoted)',
    )


def load_config(path: str, cfg_options: dict | None = None) -> Config:
    """Read a configuration file, merge ``--cfg-options`` into it, and settle its preprocessing.

    Args:
        path: of the file, or ``timm:NAME`` for ``configs/timm_imagenet.py`` with that network.
        cfg_options: settings to override.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: timm has no such network.
    """
    if path.startswith(OF_TIMM):
        cfg_options = {'model.model_name': path.removeprefix(OF_TIMM), **(cfg_options or {})}
        path = str(own_file('configs/timm_imagenet.py'))
    require_file(path, 'config file')
    try:
        config = Config.fromfile(path)
    except SyntaxError as error:
        raise ValueError(
            f'The config file {path!r} must be Python, got line {error.lineno} ({error.msg}): correct it there.'
        ) from error
    set_options(config, cfg_options)
    settle_preprocessing(config)
    return config


def set_options(config: Config, cfg_options: dict | None) -> None:
    """Merge ``--cfg-options`` into a config, and warn of those that are not in it or that nothing reads."""
    for key in cfg_options or {}:
        remark = _remark_on(key, config, cfg_options)
        if remark:
            warnings.warn(f'--cfg-options {key}: {remark}', stacklevel=2)
    config.merge_from_dict(cfg_options or {})


def _remark_on(key: str, config: Config, cfg_options: dict) -> str:
    """What to say of a key that probably changes nothing; empty if it does.

    A last part may be new, an argument that has a default: whoever takes arguments refuses those that it does not know.
    """
    first, *_ = parts = key.split('.')
    if first not in _READ and first in config:
        return 'it is a variable of the config file, used up when the file was read; set each place that has its value.'
    place = config
    for depth, part in enumerate(parts):
        if isinstance(place, list | tuple):  # MMEngine refuses what is no index of it
            place = place[int(part)] if part.isdigit() and int(part) < len(place) else None
        elif not isinstance(place, Mapping | Config):
            return ''
        elif part in place:
            place = place[part]
        else:
            known = list(place) if depth else [*place, *_READ]
            close = difflib.get_close_matches(part, known, n=1, cutoff=0.85)
            is_new = '.'.join([*parts[: depth + 1], 'type']) in cfg_options or (not depth and part in _READ)
            if is_new or (0 < depth == len(parts) - 1 and not close):
                return ''
            where = '.'.join(parts[:depth]) or 'the config'
            return f'there is no {part!r} in {where}, {f"but {close[0]!r}" if close else "so check its spelling"}.'
    return ''


def device(name: str) -> str:
    """``type`` of ``--device``.

    Raises:
        SystemExit: with code 2 and one sentence; there is no such device here.
    """
    with one_sentence():
        require_device(name)
    return name


def require_device(name: str) -> None:
    """Raise ValueError if PyTorch cannot compute on a device here."""
    gpus = torch.cuda.device_count()
    try:
        place = torch.device(name)
        usable = (place.index or 0) < gpus if place.type == 'cuda' else torch.zeros(1, device=place).item() == 0
    except Exception:  # of each kind of device its own
        usable = False
    if not usable:
        here = f'cuda:0 to cuda:{gpus - 1}' if gpus else 'there is no GPU here'
        raise ValueError(f'the device must be cpu or a GPU ({here}), got {name!r}')


def require_at_least(least: int, **numbers: int) -> None:
    """Raise ValueError, with its name, for a number that is smaller."""
    for name, number in numbers.items():
        if number < least:
            raise ValueError(f'{name} must be {least} or more, got {number}')


def number_in_environment(name: str, default: int) -> int:
    """What torchrun, srun or mpirun says, such as ``RANK``.

    Raises:
        ValueError: it is no whole number from 0 on.
    """
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise ValueError(f'the environment variable {name} must be a whole number from 0 on, got {text!r}')
    return int(text)


def require_file(path: str, kind: str) -> None:
    """Check that a file is there, unless it is an address such as ``https://...`` that only its loader understands.

    Args:
        path (str): what the user gave.
        kind (str): what it should be, for the message: "checkpoint".

    Raises:
        FileNotFoundError: there is no such file.
    """
    if '://' not in path and not Path(path).is_file():
        raise nothing_at(kind, path)


def output_file(path: str) -> str:
    """``type`` of an option that names a file to write: checked before the work whose result it takes.

    Raises:
        SystemExit: with code 2 and one sentence; it is a folder, or it cannot be written.
    """
    with one_sentence():
        if os.path.isdir(path):
            raise ValueError(f'The output must be a file, got the folder {path!r}.')
        if not os.path.exists(path) or os.path.isfile(path):  # and no device or pipe
            _require_folder(path, Path(path).absolute().parents)
    return path


def output_folder(path: str) -> str:
    """``type`` of an option that names a folder to write to, which need not be there yet.

    Raises:
        SystemExit: with code 2 and one sentence; it is a file, or it cannot be written.
    """
    place = Path(path).absolute()
    with one_sentence():
        _require_folder(path, (place, *place.parents))
    return path


def _require_folder(path: str, places: Sequence[Path]) -> None:
    place = next(place for place in places if os.path.lexists(place))
    if not place.is_dir():
        raise ValueError(f'The output must lie in a folder, got {path!r}: {place} is none.')
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f'The output must lie where one can write, got {path!r}: {place} refuses it.')
