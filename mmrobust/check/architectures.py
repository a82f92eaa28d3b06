"""Which arguments of a backbone some weights fit, by their shapes."""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mmrobust.models import FAN, RVT, Swin
from mmrobust.models.backbones.fan import ARCHS as FAN_ARCHS
from mmrobust.models.backbones.rvt import ARCHS as RVT_ARCHS
from mmrobust.models.backbones.rvt import PATCH_SIZE
from mmrobust.models.backbones.swin import ARCHS as SWIN_ARCHS

_PARTS_OF_NAMES = {192: 'tiny', 384: 'small', 768: 'base', 1024: 'large', 1280: 'huge'}  # of a VisionTransformer


def fan_options(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of FAN that weights in this project's layout fit.

    Raises:
        ValueError: no arch has this kind of stem, channels and depth.
    """
    is_hybrid = any(key.endswith('patch_embed.stem.0.weight') for key in weights)
    archs = {name: arch for name, arch in FAN_ARCHS.items() if ('stem_depths' in arch) == is_hybrid}
    title = f'FAN {"Hybrid" if is_hybrid else "ViT"}'
    return dict(arch=_alike(title, FAN, archs, weights, out_indices=(0,))[0]) | _tap(weights)


def rvt_options(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of RVT that weights in this project's layout fit.

    ``arch`` is a name of ``ARCHS`` where there is one, and a dict where only the number of scaled blocks is another.

    Raises:
        ValueError: no arch has blocks of these channels.
    """
    alike = _alike('RVT', RVT, RVT_ARCHS, weights, out_type='avg_featmap')
    scaling = [value for key, value in weights.items() if key.endswith('.position_scaling.logits')]
    named = [name for name in alike if RVT_ARCHS[name]['scaled_blocks'] == len(scaling)]
    is_conv = any(key.endswith('blocks.0.mlp.dwconv.weight') for key in weights)
    options: dict[str, Any] = dict(
        arch=named[0] if named else RVT_ARCHS[alike[0]] | dict(scaled_blocks=len(scaling)),
        ffn_type='conv' if is_conv else 'linear',
    )
    options |= _tap(weights)
    if scaling:
        options['img_size'] = PATCH_SIZE * math.isqrt(scaling[0].size(-1))  # all released grids are square
    return options


def swin_options(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of Swin that weights in this project's layout or as released fit.

    Raises:
        ValueError: no arch has this depth and these channels.
    """
    return dict(arch=_alike('Swin', Swin, SWIN_ARCHS, weights)[0]) | _tap(weights)


def timm_names(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of timm's VisionTransformers that weights, but for their head, fit tensor by tensor; the shortest first.

    Several networks may have the same tensors and differ in their preprocessing alone, as ViT and DeiT do.
    """
    import timm
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    width, patches = weights['blocks.0.norm1.weight'].numel(), weights.get('patch_embed.proj.weight')
    size = _PARTS_OF_NAMES.get(width)
    shown = size and f'_{size}*' + ('' if patches is None else f'patch{patches.shape[-1]}_') + '*'
    kinds = ('vit', 'deit', 'deit3', 'flexivit', 'test_vit')
    names = [name for kind in kinds for name in timm.list_models(f'{kind}{shown or "*"}')]
    wanted = _shapes(weights)
    found = []
    for name in sorted(dict.fromkeys(names), key=len):
        if timm.model_entrypoint(name).__module__.rpartition('.')[2] in ('vision_transformer', 'deit'):
            with torch.device('meta'):
                network = timm.create_model(name, num_classes=0)
            if type(network) in (VisionTransformer, VisionTransformerDistilled) and (
                _shapes(network.state_dict()) == wanted
            ):
                found.append(name)
    return found


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in weights.items() if not re.match(r'(aux_)?head(_dist)?\.', key)}


def _alike(
    title: str, kind: type, archs: Mapping[str, dict], weights: Mapping[str, Tensor], **options: Any
) -> list[str]:
    """Names of the archs with as many blocks of the same channels.

    Raises:
        ValueError: there is none.
    """
    widths = _widths(weights)
    with torch.device('meta'):
        found = [name for name in archs if _widths(kind(arch=archs[name], **options).state_dict()) == widths]
    if not found:
        shown = ' and '.join(map(str, dict.fromkeys(widths)))
        raise ValueError(
            f'no arch of {title} has {len(widths)} blocks with {shown} channels; known are {sorted(archs)}'
        )
    return found


def _widths(weights: Mapping[str, Tensor]) -> list[int]:
    """Channels of every block, ascending, as they are along these networks."""
    norms = (value for key, value in weights.items() if re.search(r'(^|\.)blocks\.\d+\.norm1\.weight$', key))
    return sorted(norm.numel() for norm in norms)


def _tap(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    found = next((value for key, value in weights.items() if key.endswith('blocks.0.tap.predictor.0.weight')), None)
    return {} if found is None else dict(tap_cfg=dict(num_branches=found.size(0)))
