"""Preprocessing of a model: as its config says, and where that says nothing of a network of timm, as timm says."""

import contextlib
import difflib
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.config import Config

from mmrobust.registry import TRANSFORMS, type_name

RESIZE_AND_CROP = 'mmrobust.ResizeAndCropOfTimm'  # a step of a pipeline that stands for those of the network
GEOMETRY = ('Resize', 'ResizeEdge', 'CenterCrop')


@TRANSFORMS.register_module()
class ResizeAndCropOfTimm(BaseTransform):
    """Resize and crop of the config's network of timm; :func:`settle_preprocessing` puts the steps in its place.

    Raises:
        ValueError: Nothing was put in its place.
    """

    def __init__(self) -> None:
        raise ValueError(
            'mmrobust.ResizeAndCropOfTimm must be in the val_pipeline or test_pipeline of a TimmClassifier that timm '
            'knows, and the config read by mmrobust.cli.load_config: otherwise give the steps themselves.'
        )

    def transform(self, results: dict) -> dict:
        raise NotImplementedError


def settle_preprocessing(config: Config, pretrained_cfg: Mapping[str, Any] | None = None) -> None:
    """Write the preprocessing of a model into its config, which is changed in place.

    A ``data_preprocessor`` beside the model, as in MMPretrain's configs, becomes the model's own, as in MMEngine's
    runner. The rest is for networks of timm. What the config says stays: mean and std, and the steps of a pipeline.
    If these are not the network's, a warning says which are; of a backbone with ``pretrained``, mean and std only. What
    is left out, or ``'timm'``, becomes the network's in a ``TimmClassifier``: mean and std, RGB, and the step
    ``mmrobust.ResizeAndCropOfTimm`` of the pipelines that validate and test. So it does over a backbone of timm, where
    mean or std say ``'timm'``.

    Args:
        config: of any model; of a network that timm does not know nothing changes.
        pretrained_cfg: the settings of a network in memory; None takes those of the config's ``model_name``.

    Raises:
        ValueError: the network's resize and crop are wanted, and MMPretrain has no such step; or its mean and std are
            wanted, and timm does not know it.
    """
    model = config.get('model') or {}
    if config.get('data_preprocessor') and model:
        model.setdefault('data_preprocessor', config.data_preprocessor)
    is_classifier = type_name(model.get('type')) == 'TimmClassifier'
    backbone = model.get('backbone') or {}
    given = model.get('data_preprocessor') or {}
    takes_timms = is_classifier or 'timm' in (given.get('mean'), given.get('std'))
    network = model if is_classifier else backbone if backbone.get('pretrained') or takes_timms else {}
    wanted = _settings(network, pretrained_cfg) if 'model_name' in network else None
    if wanted is None:
        if is_classifier and 'timm' in (given.get('mean'), given.get('std')):
            _refuse_unknown(str(network.get('model_name')))
        return
    scales = {name: [round(255 * value, 4) for value in wanted[name]] for name in ('mean', 'std')}
    differ = [
        f'model.data_preprocessor.{name}="{scale}"'.replace(' ', '')
        for name, scale in scales.items()
        if given.get(name) not in (None, 'timm') and not np.allclose(given[name], scale, atol=0.01)
    ]
    if takes_timms:
        said = {name: given[name] for name in scales if given.get(name) not in (None, 'timm')}
        model.data_preprocessor = {'to_rgb': True, **given, **scales, **said}
        differ += _settle_pipelines(config, wanted)
    if differ:
        warnings.warn(
            f'The network {network["model_name"]} was trained with other preprocessing than the config gives: timm '
            f'says {" ".join(differ)}',
            stacklevel=2,
        )


def _refuse_unknown(name: str) -> None:
    import timm

    if ':' in name:  # of a hub or a folder, which timm reads when the network is built
        return
    close = difflib.get_close_matches(name.split('.')[0], timm.list_models())
    hint = f'; close to it are {", ".join(close)}' if close else ''
    raise ValueError(f"model_name must be one of timm.list_models() where mean or std are 'timm', got {name!r}{hint}")


def check_size_of_images(config: Config) -> None:
    """Refuse a test pipeline whose images a network of timm does not take.

    Raises:
        ValueError: it ends with a crop of another size than the only one that the network takes.
    """
    network = config.get('model') or {}
    wanted = (
        _settings(network, None)
        if 'model_name' in network and isinstance(network.get('img_size'), int | None)
        else None
    )
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    crops = [step['crop_size'] for step in dataset.get('pipeline') or [] if step['type'] == 'CenterCrop']
    free = ('dynamic_img_size', 'dynamic_img_pad', 'strict_img_size')
    if not crops or not wanted or not wanted['fixed_input_size'] or any(name in network for name in free):
        return
    height, width = crops[-1] if isinstance(crops[-1], list | tuple) else (crops[-1], crops[-1])
    size = wanted['input_size'][1:]
    if (height, width) != tuple(size):
        raise ValueError(
            f'Images for {network["model_name"]} must be {size[0]} x {size[1]}, got a test pipeline that cuts them to '
            f'{height} x {width}: resize them by its step dict(type={RESIZE_AND_CROP!r}), or, for a VisionTransformer, '
            'take images of any size with model.dynamic_img_size=True'
        )


def _settings(network: Mapping[str, Any], pretrained_cfg: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """timm's settings of a network by its config; None if timm has none."""
    from timm.data import resolve_data_config
    from timm.models import get_pretrained_cfg

    if pretrained_cfg is None:
        try:
            found = get_pretrained_cfg(network['model_name'])
        except RuntimeError:  # no such tag, which timm says when the network is built
            found = None
        if found is None:
            return None
        pretrained_cfg = {**found.to_dict(), **(network.get('pretrained_cfg_overlay') or {})}
    size = network.get('img_size')
    found = resolve_data_config({'img_size': size if isinstance(size, int) else None}, pretrained_cfg)
    return found | {'fixed_input_size': pretrained_cfg.get('fixed_input_size', False)}


def _resize_and_crop(wanted: Mapping[str, Any]) -> list[dict]:
    """timm's transform for evaluation in MMPretrain's steps.

    Raises:
        ValueError: it has none of the kind.
    """
    height, width = wanted['input_size'][1:]
    scale = [math.floor(side / wanted['crop_pct']) for side in (height, width)]
    how = dict(backend='pillow', interpolation=wanted['interpolation'])
    if wanted['crop_mode'] == 'squash':
        resize = dict(type='Resize', scale=(scale[1], scale[0]), **how)
    elif wanted['crop_mode'] == 'center' and height == width:
        resize = dict(type='ResizeEdge', scale=scale[0], edge='short', **how)
    else:
        raise ValueError(
            f"{RESIZE_AND_CROP} must be of a square crop, or of crop_mode 'squash', got {height} x {width} and "
            f'{wanted["crop_mode"]!r}: give the steps themselves in the pipeline'
        )
    return [resize, dict(type='CenterCrop', crop_size=height if height == width else (height, width))]


def _settle_pipelines(config: Config, wanted: Mapping[str, Any]) -> list[str]:
    """Put the network's steps into pipelines that ask for them; what to write where the test pipeline has others."""

    def seen(steps: list[Mapping[str, Any]]) -> list[tuple]:
        keys = ('scale', 'crop_size', 'interpolation')
        return [tuple(str(step.get(key)) for key in keys) for step in steps if str(step['type']) in GEOMETRY]

    differ = []
    for loader in ('val_dataloader', 'test_dataloader'):
        dataset = (config.get(loader) or {}).get('dataset') or {}
        pipeline = dataset.get('pipeline') or []
        if any(step['type'] == RESIZE_AND_CROP for step in pipeline):
            steps = _resize_and_crop(wanted)
            dataset['pipeline'] = [
                new for step in pipeline for new in (steps if step['type'] == RESIZE_AND_CROP else [step])
            ]
        elif pipeline and loader == 'test_dataloader':
            with contextlib.suppress(ValueError):
                steps = _resize_and_crop(wanted)
                differ = [] if seen(pipeline) == seen(steps) else [f'{steps} (dict(type={RESIZE_AND_CROP!r}))']
    return differ
