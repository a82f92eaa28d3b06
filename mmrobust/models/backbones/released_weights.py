"""Released weights of FAN, RVT and Swin in this project's layout: maps from names to names, no model needed.

Of FAN: NVlabs' FAN and the paper's TAP-FAN as classifiers, and both as backbone and head of a segmentor. Names differ
where a wrapper, or an old class attention, put them elsewhere. Values differ in one place: see ``_STEM_NORM``.

Of RVT: RVT and the paper's TAP-RVT as classifiers. Names differ where blocks are counted stage by stage and where TAP
and the attention scaling lie.

Of Swin: classifiers, by its authors and in timm. Names differ where blocks are counted stage by stage and where the
steps between stages and the final norm lie.
"""

import math
import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from mmrobust.checkpoint import linear_heads

_PREDICTOR = re.compile(r'^blocks\.\d+\.tap\.predictor\.')

# released name -> our name, applied in this order
_FAN_RENAMES = (
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
        name = _rename(key, _FAN_RENAMES)
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
    converted = _without_idle_predictor(converted)
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


_RVT_BLOCK = re.compile(r'^transformers\.(\d+)\.blocks\.(\d+)\.')
# released name -> our name
_RVT_RENAMES = (
    (r'^patch_embed\.proj\.', 'patch_embed.'),
    (r'\.attn\.att_mask$', '.position_scaling.logits'),
    (r'\.dilation_predictor\.proj\.', '.tap.predictor.'),
)
_RVT_FUSED = re.compile(r'^(.*\.attn\.)qkv\.(weight|bias)$')


def convert_rvt_backbone(state_dict: Mapping[str, Tensor], dense: bool) -> dict[str, Tensor]:
    """Backbone weights for :class:`~mmrobust.models.backbones.RVT`.

    Args:
        state_dict: of a released classifier.
        dense: for ``out_type='featmap'``: see :func:`keep_dense`.

    Returns:
        Names and tensors of RVT. The head is left out. A predictor of one branch, which the released code keeps though
        it decides nothing, is left out too.
    """
    plain = _without_prefix(state_dict, '')
    first_blocks = _first_blocks(plain)
    converted: dict[str, Tensor] = {}
    for key, value in plain.items():
        if key.startswith('head.'):
            continue
        name = _RVT_BLOCK.sub(lambda match: f'blocks.{first_blocks[int(match[1])] + int(match[2])}.', key)
        name = _rename(name, _RVT_RENAMES)
        fused = _RVT_FUSED.match(name)
        if fused:
            channels = value.size(0) // 3
            converted[f'{fused[1]}q.{fused[2]}'] = value[:channels]
            converted[f'{fused[1]}kv.{fused[2]}'] = value[channels:]
        else:
            converted[name] = value
    converted = _without_idle_predictor(converted)
    return keep_dense(converted) if dense else converted


def keep_dense(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """RVT's weights, in this project's layout, without the norm that only averaged features pass."""
    return {key: value for key, value in state_dict.items() if not key.startswith('norm.')}


def convert_rvt_classifier(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released classifier as ``mmpretrain.ImageClassifier`` with RVT and ``LinearClsHead``."""
    converted = {f'backbone.{key}': value for key, value in convert_rvt_backbone(state_dict, dense=False).items()}
    return converted | linear_heads(_without_prefix(state_dict, ''))


def _first_blocks(state_dict: Mapping[str, Tensor]) -> dict[int, int]:
    """Stage to the index, counted over all stages, of its first block."""
    blocks = {(int(match[1]), int(match[2])) for match in map(_RVT_BLOCK.match, state_dict) if match}
    return {stage: sum(other < stage for other, _ in blocks) for stage, _ in blocks}


_SWIN_BLOCK = re.compile(r'^layers\.(\d+)\.blocks\.(\d+)\.')
_SWIN_MERGING = re.compile(r'^layers\.(\d+)\.downsample\.')
_SWIN_FINAL_NORM = re.compile(r'^norm\.')
# the head, and what is computed from the sizes of windows and images
_SWIN_LEFT_OUT = re.compile(r'^head\.|\.relative_position_index$|\.attn_mask$')


def convert_swin_backbone(state_dict: Mapping[str, Tensor], depths: Sequence[int]) -> dict[str, Tensor]:
    """Backbone weights for :class:`~mmrobust.models.backbones.Swin`.

    Args:
        state_dict: of a released classifier, with or without its head.
        depths: blocks of each stage.

    Returns:
        Names and tensors of Swin. The head is left out. The final norm becomes the output norm of the last stage.
    """
    # the authors, and timm until 0.6, count a step to the stage that it leaves, later versions to that which it enters
    leaves = any(key.startswith('layers.0.downsample.') for key in state_dict)
    converted = {}
    for key, value in state_dict.items():
        if _SWIN_LEFT_OUT.search(key):
            continue
        key = _SWIN_BLOCK.sub(lambda found: f'blocks.{sum(depths[: int(found[1])]) + int(found[2])}.', key)
        key = _SWIN_MERGING.sub(lambda found: f'mergings.{int(found[1]) - (not leaves)}.', key)
        converted[_SWIN_FINAL_NORM.sub(f'norms.{len(depths) - 1}.', key)] = value
    return converted


def _rename(key: str, renames: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in renames:
        key = re.sub(pattern, replacement, key)
    return key


def _without_prefix(state_dict: Mapping[str, Tensor], prefix: str, only: bool = False) -> dict[str, Tensor]:
    """Strips DDP's ``module.`` and then ``prefix``; keeps only the keys under ``prefix`` where there are any."""
    plain = {key.removeprefix('module.'): value for key, value in state_dict.items()}
    under = {key[len(prefix) :]: value for key, value in plain.items() if key.startswith(prefix)}
    return under if under or only else plain


def _without_idle_predictor(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leaves out the predictors of TAP with one branch, which decide nothing."""
    last_layer = state_dict.get('blocks.0.tap.predictor.2.weight')
    if last_layer is None or last_layer.size(0) != 1:
        return state_dict
    return {key: value for key, value in state_dict.items() if not _PREDICTOR.match(key)}
