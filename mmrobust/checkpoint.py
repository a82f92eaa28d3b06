"""Reads checkpoints without running code in them; a bad file is one sentence."""

import argparse
import functools
import inspect
import json
import os
import os.path as osp
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlparse

import mmengine.runner.checkpoint as mmengine_checkpoint
import numpy as np
import torch
from mmengine.dist import barrier, get_rank
from mmengine.logging import HistoryBuffer
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mmrobust.files import nothing_at
from mmrobust.origin import origin_of

_multiarray = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
_DTYPES = [
    type(np.dtype(kind)) for kind in ('?', 'i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8', 'f2', 'f4', 'f8', 'U')
]


def _statistic(owner: type, name: str) -> Any:
    """Stand in for ``getattr``: a ``HistoryBuffer`` stores references to its own methods, and needs no more than that.

    Raises:
        pickle.UnpicklingError: Something else is asked for.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(owner, name)
    raise pickle.UnpicklingError('Unsupported GLOBAL builtins.getattr')


# What a checkpoint may hold besides tensors and Python's own containers; none of it runs code of the file. The name in
# a pair is what the file says: numpy 1 and numpy 2 write the same function under different modules.
ALLOWED_GLOBALS = [
    HistoryBuffer,  # MMEngine's message hub, in every checkpoint of a Runner
    (_statistic, 'builtins.getattr'),
    np.ndarray,
    np.dtype,
    *_DTYPES,
    (_multiarray._reconstruct, 'numpy.core.multiarray._reconstruct'),
    (_multiarray._reconstruct, 'numpy._core.multiarray._reconstruct'),
    (_multiarray.scalar, 'numpy.core.multiarray.scalar'),
    (_multiarray.scalar, 'numpy._core.multiarray.scalar'),
    argparse.Namespace,  # timm-style released checkpoints keep the command line
]
# in torch's own message where a whole file does not load because of this machine
_OF_THE_MACHINE = re.compile(r'CUDA|MPS|XPU|deserialize object on|allocat|out of memory')
# where checkpoints keep weights, the first that is there: OpenMMLab's and timm's, DeiT's, DINO's, averages alone
AVERAGED = ('state_dict_ema', 'model_ema')
FRAMES = ('state_dict', 'model', 'teacher', *AVERAGED)
MOST = 20  # names of each kind in a message


def load_checkpoint_file(path: str | os.PathLike, map_location: Any = 'cpu') -> Any:
    """Read what ``torch.save`` wrote: tensors, Python's containers and numbers, and ``ALLOWED_GLOBALS``.

    A file named ``*.safetensors`` becomes ``{'state_dict': its tensors, 'meta': {...}}``, as
    tools/model_converters/to_hub.py writes it.

    Args:
        path: A local file.
        map_location: Where the tensors go, as in ``torch.load``; a device for safetensors.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, no checkpoint, unpacks to more than it is, or holds an object that is not
            allowed; that object is named and never made.
    """
    path = osp.abspath(osp.expanduser(path))
    if not osp.isfile(path):
        raise nothing_at('checkpoint', path)
    if path.endswith('.safetensors'):
        return _load_safetensors(path, map_location)
    is_zip, size = zipfile.is_zipfile(path), _unpacked_size(path)
    if size > osp.getsize(path):  # torch.save compresses nothing
        raise ValueError(
            f'The checkpoint {path} must hold what torch.save wrote, got a zip file of {osp.getsize(path)} bytes that '
            f'unpacks to {size}.'
        )
    if is_zip and not is_whole(path):  # torch.load reads the wrong bytes and says nothing
        raise ValueError(f'The checkpoint {path} is damaged: not everything in it has the checksum noted there.')
    try:
        with torch.serialization.safe_globals(ALLOWED_GLOBALS):
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # a damaged file can raise anything, even an OSError of a negative seek
        refused = (
            re.search(r'(?:GLOBAL|class) ([\w.]+)', str(error)) if isinstance(error, pickle.UnpicklingError) else None
        )
        if refused:
            raise ValueError(
                f'The checkpoint {path} holds {_shown(refused[1])}, which is not on the list of what a checkpoint may '
                'hold and could run any code, so it is not loaded.'
            ) from None
        if is_zip and isinstance(error, RuntimeError) and _OF_THE_MACHINE.search(str(error)):
            raise  # the file is whole: this is about map_location, or memory
        reason = _shown(' '.join(f'{type(error).__name__} {error}'.split('. ')[0].split()))
        raise ValueError(
            f'The checkpoint {path} ({osp.getsize(path)} bytes) is truncated or no PyTorch checkpoint ({reason}): '
            'copy it again, or give another file.'
        ) from None
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f'The checkpoint {path} must hold a dict of weights, but holds a {type(checkpoint).__name__}.')
    return _checked(checkpoint, path)


def _checked(checkpoint: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """The checkpoint, after a check that weights and ``meta`` have the types that MMEngine assumes."""
    if 'state_dict' in checkpoint:
        _taken(checkpoint, path)
    meta = checkpoint.get('meta')
    if not isinstance(meta, dict | None):
        raise ValueError(f'meta in the checkpoint {path} must be a dict, got a {type(meta).__name__}.')
    if meta:
        meta.pop('config', None)  # MMEngine would run this text as Python when it resumes
    return checkpoint


def is_whole(path: str | os.PathLike) -> bool:
    """Whether a file is what ``torch.save`` wrote, a zip archive, with all of its checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _unpacked_size(path) <= osp.getsize(path) and archive.testzip() is None
    except Exception:  # a damaged file can raise anything
        return False


def _unpacked_size(path: str | os.PathLike) -> int:
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except Exception:  # a damaged file can raise anything, and is not whole
        return 0


def _load_safetensors(path: str, map_location: Any) -> dict[str, Any]:
    try:
        with safe_open(path, framework='pt', device=str(map_location or 'cpu')) as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
            metadata = file.metadata() or {}
        meta = json.loads(metadata.get('mmengine_meta', '{}'))
    except (SafetensorError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f'The checkpoint {path} ({osp.getsize(path)} bytes) is truncated or no safetensors file ({_shown(error)}).'
        ) from None
    return _checked({'meta': meta, 'state_dict': weights}, path)


def register_safe_loader() -> None:
    """Make MMEngine read every checkpoint with ``load_checkpoint_file``: load_from, --resume, init_model, Pretrained.

    The OneDL fork of MMEngine falls back to unpickling anything after a warning. Official MMEngine cannot read its own
    checkpoints with torch >= 2.6, and unpickles what it downloads. May be called repeatedly.
    """
    loader = mmengine_checkpoint.CheckpointLoader
    loader.register_scheme(prefixes='', loader=load_from_local, force=True)
    loader.register_scheme(prefixes=('http://', 'https://'), loader=load_from_http, force=True)
    # torchvision://, open-mmlab:// and mmcls:// turn a name into an address and call this function
    mmengine_checkpoint.load_from_http = load_from_http


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a local checkpoint; MMEngine logs the end of this function's name."""
    return load_checkpoint_file(filename, map_location)


def load_from_http(filename: str, map_location: Any = None) -> Any:
    """Download a checkpoint once into torch's cache, first on rank 0, and load it."""
    folder = osp.join(torch.hub.get_dir(), 'checkpoints')
    path = osp.join(folder, osp.basename(urlparse(filename).path))
    for turn in (True, False):
        if turn == (get_rank() == 0) and not osp.exists(path):  # the others share the folder, or download after it
            os.makedirs(folder, exist_ok=True)
            torch.hub.download_url_to_file(filename, path, progress=turn)
        barrier()
    return load_checkpoint_file(path, map_location)


def refuse_strangers() -> None:
    """Make MMEngine refuse weights of which a model takes nothing, or that are not finite, wherever it loads.

    That is init_cfg of any backbone, init_model, inferencers, and ``load_from`` without ``StrictLoadHook``. Weights of
    which only a part fits are refused where the caller does not say ``strict``: init_model and inferencers, to predict
    with. Others are the caller's business. May be called repeatedly.
    """
    load = mmengine_checkpoint.load_state_dict
    if hasattr(load, '__wrapped__'):
        return

    @functools.wraps(load)
    def load_state_dict(
        module: nn.Module, state_dict: Mapping[str, Tensor], strict: bool | None = False, *args: Any, **kwargs: Any
    ) -> Any:
        given = _unframed(state_dict)
        if origin_of(given).is_foreign and not compare_state_dicts(
            module.state_dict(), adapted := adapted_to(module, weights_of(given))
        ):
            state_dict = adapted  # all of it, or nothing: a head would stay random
        elif given is not state_dict:
            state_dict = weights_of(given)
        check_finite(module.state_dict(), state_dict)
        held = [tensor for tensor in [*module.parameters(), *module.buffers()] if not tensor.is_inference()]
        before = [tensor._version for tensor in held]  # hooks may rename keys, so what was written is what counts
        result, problem = None, None
        try:
            result = load(module, state_dict, strict in (True, None), *args, **kwargs)
        except RuntimeError as error:
            if strict:
                raise
            problem = error
        if held and before == [tensor._version for tensor in held]:
            names = [', '.join(map(_shown, list(keys)[:3])) for keys in (state_dict, module.state_dict())]
            raise ValueError(
                f'Weights for {type(module).__name__} must fit some of its keys ({names[1]}, ...), got others '
                f'({names[0]}, ...): they are of another model; {_told(given)}'
            )
        if held and problem:
            difference = compare_state_dicts(module.state_dict(), state_dict) or _shown(problem)
            raise ValueError(
                f'The checkpoint does not fit the model, {difference}\nTo take a part of it, say strict=False.'
            )
        return result

    mmengine_checkpoint.load_state_dict = load_state_dict
    # by their defaults, because other modules may hold these functions already
    for function in (mmengine_checkpoint.load_checkpoint, mmengine_checkpoint._load_checkpoint_to_model):
        names = list(inspect.signature(function).parameters)
        of_strict = names.index('strict') - len(names)
        defaults = list(function.__defaults__)
        defaults[of_strict] = None
        function.__defaults__ = tuple(defaults)


def weights_of(checkpoint: Mapping[str, Any], source: str = 'the checkpoint') -> dict[str, Tensor]:
    """The weights in a checkpoint: under the first of ``FRAMES`` that it has, or bare; without DDP's ``module.``.

    Where averaged ones are there too, a warning says which are taken.

    Args:
        checkpoint: As :func:`load_checkpoint_file` gives it.
        source: What the message calls it, such as its path.

    Raises:
        ValueError: It holds something else than dense tensors by name.
    """
    others = [name for name in AVERAGED if name in checkpoint and name != frame_of(checkpoint)]
    if others:
        warnings.warn(
            f'{source} holds averaged weights too, under {others[0]}: those under {frame_of(checkpoint)} are taken',
            stacklevel=2,
        )
    return _taken(checkpoint, source)


def _taken(checkpoint: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    weights = _unframed(checkpoint)
    if not isinstance(weights, Mapping):
        raise ValueError(f'The weights in {source} must be a dict of tensors, got a {type(weights).__name__}')
    for key, value in weights.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
            kind = f'{value.layout} on {value.device}' if isinstance(value, Tensor) else type(value).__name__
            name = f'{type(key).__name__} {_shown(key)}'
            raise ValueError(f'The weights in {source} must be dense tensors by name, got {kind} by {name}')
    return {key.removeprefix('module.'): value for key, value in weights.items()}


def _unframed(checkpoint: Mapping[str, Any]) -> Any:
    return checkpoint[found] if (found := frame_of(checkpoint)) else checkpoint


def frame_of(checkpoint: Mapping[str, Any]) -> str | None:
    """Where in a checkpoint the weights are that are taken; None for bare ones."""
    return next((name for name in FRAMES if name in checkpoint), None)


def adapted_to(model: nn.Module, weights: Mapping[str, Tensor], source: str = 'the checkpoint') -> dict[str, Tensor]:
    """Weights in the layout of a task model: released ones and timm's are renamed as its backbone does it.

    A head follows where it is one linear layer, or two of a distilled DeiT, or the head itself has
    ``adapt_state_dict``. What does not fit is left for :func:`check_state_dict` to find.

    Args:
        model: of any kind; for a backbone without ``adapt_state_dict`` the weights stay as they are.
        weights: As :func:`weights_of` gives them.
        source: What the message calls them.
    """
    weights = without_auxiliary_head(weights, source)
    backbone, decode_head = (getattr(model, name, None) for name in ('backbone', 'decode_head'))
    if not hasattr(backbone, 'adapt_state_dict') or not origin_of(weights).is_foreign:
        return weights
    adapted = {f'backbone.{key}': value for key, value in backbone.adapt_state_dict(weights).items()}
    if decode_head is not None:
        heads = decode_head.adapt_state_dict(weights) if hasattr(decode_head, 'adapt_state_dict') else {}
        return adapted | {f'decode_head.{key}': value for key, value in heads.items()}
    return adapted | linear_heads(weights, hasattr(getattr(model, 'head', None), 'layers'))


def linear_heads(weights: Mapping[str, Tensor], in_layers: bool = False) -> dict[str, Tensor]:
    """The linear layers with which released classifiers and timm's end, as MMPretrain names them.

    Args:
        weights: with their own names, ``head`` and ``head_dist``; timm's Swin says ``head.fc``.
        in_layers: for ``VisionTransformerClsHead`` and ``DeiTClsHead``; else for ``LinearClsHead``.
    """
    place = 'head.layers.head' if in_layers else 'head.fc'
    names = {'head': place, 'head.fc': place, 'head_dist': 'head.layers.head_dist'}
    found = {key: key.rpartition('.') for key in weights if key.rpartition('.')[0] in names}
    return {f'{names[layer]}.{leaf}': weights[key] for key, (layer, _, leaf) in found.items()}


def fitting(model: nn.Module, checkpoint: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """The weights of a checkpoint as a model takes them: :func:`adapted_to` it, and all of them fit.

    Args:
        model: of any kind.
        checkpoint: As :func:`load_checkpoint_file` gives it.
        source: What the message calls it, such as its path.

    Raises:
        ValueError: They do not fit.
    """
    weights = weights_of(checkpoint, source)
    adapted = adapted_to(model, weights, source)
    check_state_dict(model.state_dict(), adapted, source, weights)
    return adapted


def without_auxiliary_head(weights: Mapping[str, Tensor], source: str = 'the checkpoint') -> dict[str, Tensor]:
    """Weights without ``aux_head.*``, which labels tokens while NVlabs' STL trains a FAN; a warning says so."""
    left_out = [key for key in weights if re.match(r'(backbone\.)?aux_head\.', key)]
    if left_out:
        warnings.warn(
            f'{len(left_out)} keys of an auxiliary head (aux_head.*) in {source} are ignored: it is for training only',
            stacklevel=2,
        )
    return {key: value for key, value in weights.items() if key not in left_out}


def compare_state_dicts(
    expected: Mapping[str, Tensor], got: Mapping[str, Tensor], given: Mapping[str, Tensor] | None = None
) -> str:
    """Name the keys that are missing in ``got``, unexpected there, or of another shape; '' if there are none.

    A norm's count of batches may be missing, as in PyTorch: norms have it since 0.4.1. ``given`` are the weights before
    they were adapted, by whose names it is said whose they are.
    """
    missing = [key for key in expected if key not in got and not _is_uncounted(key, got)]
    unexpected = [key for key in got if key not in expected]
    reshaped = [key for key in expected if key in got and got[key].shape != expected[key].shape]
    lines = {
        'missing': [f'{key} {tuple(expected[key].shape)}' for key in missing],
        'unexpected': unexpected,
        'of another shape': [
            f'{key} {tuple(got[key].shape)} instead of {tuple(expected[key].shape)}' for key in reshaped
        ],
    }
    if not any(lines.values()):
        return ''
    counts = ', '.join(f'{len(keys)} {kind}' for kind, keys in lines.items())
    listed = ''.join(
        f'\n  {kind}: {_shown(key)}' if index < MOST else f'\n  {kind}: {len(keys) - MOST} more'
        for kind, keys in lines.items()
        for index, key in enumerate(keys[: MOST + 1])
    )
    concerned = [*missing, *unexpected, *reshaped]
    if len(concerned) < len(expected) and all(re.match(r'(decode_)?head\.', key) for key in concerned):
        why = 'the backbone fits and the head does not'
        if not missing and not unexpected:
            numbers = [_shown(tensors[reshaped[0]].size(0)) for tensors in (got, expected)]
            why += f', of {numbers[0]} classes instead of {numbers[1]}'
        why += '. Take the backbone alone with model.backbone.init_cfg.type=Pretrained '
        why += 'model.backbone.init_cfg.checkpoint=PATH'
    else:
        why = 'it looks like a checkpoint of another architecture, so give the config that it was trained with; '
        why += _told(got if given is None else given)
    return f'keys {counts}, of {len(expected)}: {why}.{listed}'


def _told(weights: Iterable[str]) -> str:
    """Whose weights these are and what takes them, for the end of a sentence."""
    origin = origin_of(weights)
    return f'{origin} weights need {origin.use}'


def check_finite(expected: Mapping[str, Tensor], got: Mapping[str, Tensor], source: str = 'The checkpoint') -> None:
    """Raises a ValueError if weights for a model are NaN or infinite where the model's own, as built, are not."""
    broken = [key for key in got if key in expected and not _is_finite(got[key]) and _is_finite(expected[key])]
    if broken:
        more = f' and {len(broken) - 3} more' if len(broken) > 3 else ''
        raise ValueError(
            f'{source} must hold finite weights, got NaN or infinity in {", ".join(map(_shown, broken[:3]))}{more}: '
            'take a checkpoint from before the training diverged'
        )


def _is_finite(value: Tensor) -> bool:
    return value.is_meta or not value.is_floating_point() or bool(value.isfinite().all())


def _is_uncounted(key: str, got: Mapping[str, Tensor]) -> bool:
    """Whether a key is the count of batches of a norm whose statistics are there."""
    norm = key.removesuffix('num_batches_tracked')
    return norm != key and f'{norm}running_mean' in got


def _shown(text: Any) -> str:
    """Text of an untrusted file: control characters are escaped, and long text is cut."""
    text = repr(str(text))[1:-1]
    return text if len(text) <= 120 else f'{text[:120]}...'


def check_state_dict(
    expected: Mapping[str, Tensor],
    got: Mapping[str, Tensor],
    source: str = 'The checkpoint',
    given: Mapping[str, Tensor] | None = None,
) -> None:
    """Refuse weights that do not fit a model key by key.

    Args:
        expected: The model's ``state_dict()``.
        got: The weights to load into it.
        source: What the message calls the weights, such as ``'The checkpoint x.pth'``.
        given: The weights before they were adapted, if they were.

    Raises:
        ValueError: Some keys are missing, unexpected or of another shape, of which the first of each kind are named; or
            the weights are not finite.
    """
    difference = compare_state_dicts(expected, got, given)
    if difference:
        raise ValueError(f'{source} does not fit the model, {difference}')
    check_finite(expected, got, source)
