"""Says whose weights a file holds, of which network, and which config or tool takes them."""

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from mmrobust.check.architectures import fan_options, rvt_options, swin_options, timm_names
from mmrobust.checkpoint import AVERAGED, frame_of, load_checkpoint_file, weights_of, without_auxiliary_head
from mmrobust.classes import classes_of_meta
from mmrobust.models.backbones.released_weights import convert_fan_backbone, convert_rvt_backbone
from mmrobust.models.backbones.timm_vit import with_timms_names
from mmrobust.origin import Origin, origin_of

# a layer whose rows are classes; of a released FAN segmentor conv_seg is never run
_HEADS = (
    *('decode_head.linear_pred', 'decode_head.conv_seg', 'head.fc', 'head.layers.head', 'head', 'fc', 'classifier'),
    *('head.classifier', 'classif', 'last_linear'),
)
_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked', 'relative_position_index', 'attn_mask')


class Description(NamedTuple):
    """What a file of weights is.

    Attributes:
        path: the file.
        origin: whose weights these are, by their names.
        network: the architecture in words, as far as names and shapes tell.
        options: arguments of this project's backbone that fit; empty where none is known.
        classes: number of classes; None without a head.
        class_names: what the file says of them, or None.
        parameters: number of parameters, buffers not counted.
        dtypes: types of the parameters, such as ``('float16',)``.
        frame: where in the file the weights are that are taken; None if it holds nothing else.
        averaged: where averaged weights are, or what was averaged; '' if nothing says so.
        optimizer: whether the state of an optimizer is there, so that a run can be continued.
        progress: the epoch or iteration that the file says, or ''.
        use: what takes it, in words.
    """

    path: str
    origin: Origin
    network: str
    options: dict[str, Any]
    classes: int | None
    class_names: tuple[str, ...] | None
    parameters: int
    dtypes: tuple[str, ...]
    frame: str | None
    averaged: str
    optimizer: bool
    progress: str
    use: str

    def rows(self) -> list[tuple[str, str]]:
        """Label and text of each line to print."""
        names = f': {", ".join(self.class_names[:3])}, ...' if self.class_names else ''
        inside = ', '.join(part for part in ('optimizer' * self.optimizer, self.progress) if part)
        return [
            ('file', self.path),
            ('weights of', f'{self.origin}, {self.network}' if self.network else str(self.origin)),
            ('classes', 'no head' if self.classes is None else f'{self.classes}{names}'),
            ('parameters', f'{self.parameters / 1e6:.3g} million, {" and ".join(self.dtypes)}'),
            ('taken from', (self.frame or 'the whole file') + (f'; {self.averaged}' if self.averaged else '')),
            ('training', inside or 'no optimizer: weights only, not to --resume'),
            ('use', self.use),
        ]


def describe(path: str | os.PathLike) -> Description:
    """Tell what a file of weights is: whose, which network, how it is used.

    Args:
        path: a checkpoint of ``torch.save`` or a ``.safetensors`` file. It is read as every tool reads it, and no code
            in it is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, no checkpoint, or holds no weights.
    """
    path = os.fspath(path)
    checkpoint = load_checkpoint_file(path)
    frame = frame_of(checkpoint)
    weights = weights_of({frame: checkpoint[frame]} if frame else checkpoint, path)
    if not weights:
        raise ValueError(f'{path} must hold weights, got none: its keys are {list(map(str, checkpoint))[:8]}')
    meta = checkpoint.get('meta') or {}
    parameters = [value for key, value in weights.items() if not key.endswith(_BUFFERS)]
    origin = origin_of(weights)
    arch = checkpoint.get('arch')
    origin, network, options = _network(origin, weights, arch if isinstance(arch, str) else None)
    classes = _classes(weights)
    return Description(
        path=path,
        origin=origin,
        network=network,
        options=options,
        classes=classes,
        class_names=classes_of_meta(meta),
        parameters=sum(value.numel() for value in parameters),
        dtypes=tuple(sorted({str(value.dtype).removeprefix('torch.') for value in parameters})),
        frame=frame,
        averaged=_averaged(checkpoint),
        optimizer='optimizer' in checkpoint,
        progress=', '.join(f'{name} {meta.get(name, checkpoint.get(name))}' for name in _counted(meta, checkpoint)),
        use=_use(origin, options, classes, meta),
    )


def _network(origin: Origin, weights: Mapping[str, Tensor], arch: str | None) -> tuple[Origin, str, dict[str, Any]]:
    """Origin, as far as timm's training code names it; the architecture in words; arguments of our backbone."""
    bare = {key.removeprefix('backbone.'): value for key, value in without_auxiliary_head(weights).items()}
    try:
        if origin.network == 'FAN':
            own = convert_fan_backbone(weights, dense=False) if origin.is_foreign else bare
            options = fan_options(own)
        elif origin.network == 'RVT':
            options = rvt_options(convert_rvt_backbone(weights, dense=False) if origin.is_foreign else bare)
        elif origin.network == 'Swin':
            options = swin_options(bare)
        elif origin.network == 'ViT':
            return origin, *_vit(with_timms_names(bare), arch)
        elif arch and _is_of_timm(arch):
            return origin._replace(kind='timm'), arch, dict(model_name=arch)
        else:
            return origin, arch or '', {}
    except ValueError as error:
        return origin, str(error).partition(';')[0], {}
    except ImportError:  # no timm
        return origin, '', {}
    shown = ', '.join(f'{key}={value!r}' for key, value in options.items())
    return origin, shown, options


def _vit(weights: Mapping[str, Tensor], arch: str | None) -> tuple[str, dict[str, Any]]:
    has_tap = any('.tap.' in key for key in weights)
    names = timm_names({key: value for key, value in weights.items() if '.tap.' not in key})
    names = [arch, *(name for name in names if name != arch)] if arch and _is_of_timm(arch) else names
    tap = f', {len(weights)} tensors with TAP' if has_tap else ''
    if not names:
        width = weights['blocks.0.norm1.weight'].numel()
        depth = len({key.split('.')[1] for key in weights if key.startswith('blocks.')})
        return f'{depth} blocks of {width} channels, by default settings no VisionTransformer of timm{tap}', {}
    others = f' (the same tensors as {", ".join(names[1:4])})' if names[1:] else ''
    return f'{names[0]}{others}{tap}', dict(model_name=names[0])


def _is_of_timm(name: str) -> bool:
    import timm

    return timm.is_model(name)


def _classes(weights: Mapping[str, Tensor]) -> int | None:
    found = (weights[f'{head}.weight'] for head in _HEADS if f'{head}.weight' in weights)
    return next((weight.size(0) for weight in found), None)


def _averaged(checkpoint: Mapping[str, Any]) -> str:
    if 'ema_state_dict' in checkpoint:
        return 'they are averaged (EMA), as they were tested'
    others = [name for name in AVERAGED if name in checkpoint and name != frame_of(checkpoint)]
    if others:
        return f'averaged ones (EMA) are there too, under {others[0]}, and are not taken'
    return 'they are averaged (EMA)' if frame_of(checkpoint) in AVERAGED else ''


def _counted(meta: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> list[str]:
    return [name for name in ('epoch', 'iter') if isinstance(meta.get(name, checkpoint.get(name)), int)]


def _use(origin: Origin, options: Mapping[str, Any], classes: int | None, meta: Mapping[str, Any]) -> str:
    experiment, name = meta.get('experiment_name'), options.get('model_name')
    if isinstance(experiment, str) and origin.kind in ('mmrobust', 'mmseg', 'mmpretrain', 'unknown'):
        return f'tools/test.py CONFIG FILE, where CONFIG was {re.sub("_[0-9]{8}_[0-9]{6}$", "", experiment)[:80]}'
    if origin.kind == 'timm' and name:
        number = '' if classes in (None, 1000) else f' --cfg-options model.num_classes={classes}'
        evaluated = f'tools/test.py timm:{name} FILE{number}'
        if not origin.network:
            return evaluated
        trained = f'configs/timm_vit_imagenet.py with model.backbone.model_name={name} trains from it and observes it'
        return trained if classes is None else f'{evaluated}; {trained}'
    if origin.kind == 'mmrobust' or not options:
        return origin.use
    tap = '_tap' if 'tap_cfg' in options else ''
    data = 'cityscapes' if origin.part == 'segmentor' else 'imagenet'
    config = f'configs/{origin.network.lower()}{tap}_{data}.py'
    settings = ' '.join(f'model.backbone.{key}={value}' for key, value in options.items() if key != 'tap_cfg')
    how = 'as model.backbone.init_cfg of' if origin.part == 'backbone' else 'tools/test.py CONFIG FILE, CONFIG'
    return f'{how} {config} with {settings}'
