"""Released FAN and TAP-FAN weights in this project's layout: a map from names to names, no model needed.

Released are NVlabs' FAN and the paper's TAP-FAN as classifiers, and both as backbone and head of a segmentor. Names
differ where a wrapper, or an old class attention, put them elsewhere. Values differ in one place: see ``_STEM_NORM``.
"""

import math
import re
from collections.abc import Mapping

from torch import Tensor

from mmrobust.checkpoint import linear_heads

# released name -> our name, applied in this order
_RENAMES = (
    (r'^pos_embeder\.', 'pos_embed.'),
    (r'^patch_embed\.proj\.(\d+)\.', r'patch_embed.\1.'),
    (r'^patch_embed\.backbone\.stem\.', 'patch_embed.stem.'),
    (r'^patch_embed\.backbone\.stages\.1\.downsample\.', 'patch_embed.downsample.'),
    (r'^patch_embed\.backbone\.stages\.(\d+)\.blocks\.(\d+)\.(?:mlp\.)?', r'patch_embed.stages.\1.\2.'),
    (r'^blocks\.(\d+)\.dilation_predictor\.proj\.', r'blocks.\1.tap.predictor.'),
    (r'^blocks\.\d+\.downsample\.', 'downsample.'),
    (r'^cls_attn_blocks\.(\d+)\.mlp\.fc1\.', r'cls_attn_blocks.\1.mlp.0.'),
    (r'^cls_attn_blocks\.(\d+)\.mlp\.fc2\.', r'cls_attn_blocks.\1.mlp.2.'),
)
# ConvNeXt's pointwise convolutions are linear layers here
_POINTWISE = re.compile(r'^patch_embed\.stages\.\d+\.\d+\.fc[12]\.weight$')
# The released stem divides by C - 1 where LayerNorm divides by C, in every norm but the first: its LayerNorm2d takes
# another branch for tensors in channels-last memory. The factor goes into the weight, so that our norm is a LayerNorm.
_STEM_NORM = re.compile(r'^patch_embed\.(stages\.\d+\.\d+\.norm|downsample\.0)\.weight$')
_OLD_CLASS_ATTENTION = re.compile(r'^(cls_attn_blocks\.\d+\.attn\.)qkv\.(weight|bias)$')
# what a dense model does not have: see FAN
_CLASS_TOKEN_ONLY = re.compile(r'^(cls_token$|norm\.|cls_attn_blocks\.\d+\.(gamma2$|attn\.|mlp\.))')
_PREDICTOR = re.compile(r'^blocks\.\d+\.tap\.predictor\.')

_HEAD_RENAMES = (
    (r'^linear_c(\d)\.proj\.', r'linear_c\1.'),
    (r'^linear_pred\.', 'conv_seg.'),
)


def convert_fan_backbone(state_dict: Mapping[str, Tensor], dense: bool) -> dict[str, Tensor]:
    """Backbone weights for :class:`~mmrobust.models.backbones.FAN`.

    Args:
        state_dict: of a released classifier or segmentor.
        dense: for ``out_type='featmap'``: see :func:`keep_patch_path`.

    Returns:
        Names and tensors of FAN. The classification or decode head is left out. A predictor of one branch, which the
        released code keeps though it decides nothing, is left out too.
    """
    converted: dict[str, Tensor] = {}
    for key, value in _without_prefix(state_dict, 'backbone.').items():
        if key.startswith('head.'):
            continue
        name = _rename(key, _RENAMES)
        old = _OLD_CLASS_ATTENTION.match(name)
        if old:
            for part, tensor in zip('qkv', value.chunk(3), strict=True):
                converted[f'{old[1]}{part}.{old[2]}'] = tensor
        elif _POINTWISE.match(name):
            converted[name] = value.flatten(1)
        elif _STEM_NORM.match(name):
            converted[name] = value * math.sqrt(1 - 1 / value.numel())
        else:
            converted[name] = value
    last_layer = converted.get('blocks.0.tap.predictor.2.weight')
    if last_layer is not None and last_layer.size(0) == 1:
        converted = {key: value for key, value in converted.items() if not _PREDICTOR.match(key)}
    return keep_patch_path(converted) if dense else converted


def keep_patch_path(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """FAN's weights, in this project's layout, without what only the class token passes."""
    return {key: value for key, value in state_dict.items() if not _CLASS_TOKEN_ONLY.match(key)}


def convert_fan_classifier(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released classifier as ``mmpretrain.ImageClassifier`` with FAN and ``LinearClsHead``."""
    stripped = _without_prefix(state_dict, 'backbone.')
    converted = {f'backbone.{key}': value for key, value in convert_fan_backbone(stripped, dense=False).items()}
    return converted | linear_heads(stripped)


def convert_fan_segmentor(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released segmentor as ``RobustEncoderDecoder`` with FAN and ``FANSegformerHead``."""
    stripped = _without_prefix(state_dict, '')
    backbone = {key: value for key, value in stripped.items() if key.startswith('backbone.')}
    converted = {f'backbone.{key}': value for key, value in convert_fan_backbone(backbone, dense=True).items()}
    return converted | {f'decode_head.{key}': value for key, value in convert_fan_head(stripped).items()}


def convert_fan_head(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The head of a released segmentor as ``FANSegformerHead``.

    The released ``conv_seg`` is never run and is left out; the classifier ``linear_pred`` takes that name.
    """
    head = _without_prefix(state_dict, 'decode_head.', only=True)
    return {_rename(key, _HEAD_RENAMES): value for key, value in head.items() if not key.startswith('conv_seg.')}


def _rename(key: str, renames: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in renames:
        key = re.sub(pattern, replacement, key)
    return key


def _without_prefix(state_dict: Mapping[str, Tensor], prefix: str, only: bool = False) -> dict[str, Tensor]:
    """Strips DDP's ``module.`` and then ``prefix``; keeps only the keys under ``prefix`` where there are any."""
    plain = {key.removeprefix('module.'): value for key, value in state_dict.items()}
    under = {key[len(prefix) :]: value for key, value in plain.items() if key.startswith(prefix)}
    return under if under or only else plain
