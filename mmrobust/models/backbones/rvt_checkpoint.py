"""Released RVT and TAP-RVT weights in this project's layout: a map from names to names, no model needed.

Released are RVT and the paper's TAP-RVT as classifiers. Names differ where blocks are counted stage by stage and where
TAP and the attention scaling lie; the values are the same.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from mmrobust.checkpoint import linear_heads

_BLOCK = re.compile(r'^transformers\.(\d+)\.blocks\.(\d+)\.')
# released name -> our name
_RENAMES = (
    (r'^patch_embed\.proj\.', 'patch_embed.'),
    (r'\.attn\.att_mask$', '.position_scaling.logits'),
    (r'\.dilation_predictor\.proj\.', '.tap.predictor.'),
)
_FUSED = re.compile(r'^(.*\.attn\.)qkv\.(weight|bias)$')
_PREDICTOR = re.compile(r'^blocks\.\d+\.tap\.predictor\.')


def convert_rvt_backbone(state_dict: Mapping[str, Tensor], dense: bool) -> dict[str, Tensor]:
    """Backbone weights for :class:`~mmrobust.models.backbones.RVT`.

    Args:
        state_dict: of a released classifier.
        dense: for ``out_type='featmap'``: see :func:`keep_dense`.

    Returns:
        Names and tensors of RVT. The head is left out. A predictor of one branch, which the released code keeps though
        it decides nothing, is left out too.
    """
    plain = {key.removeprefix('module.'): value for key, value in state_dict.items()}
    first_blocks = _first_blocks(plain)
    converted: dict[str, Tensor] = {}
    for key, value in plain.items():
        if key.startswith('head.'):
            continue
        name = _BLOCK.sub(lambda match: f'blocks.{first_blocks[int(match[1])] + int(match[2])}.', key)
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        fused = _FUSED.match(name)
        if fused:
            channels = value.size(0) // 3
            converted[f'{fused[1]}q.{fused[2]}'] = value[:channels]
            converted[f'{fused[1]}kv.{fused[2]}'] = value[channels:]
        else:
            converted[name] = value
    last_layer = converted.get('blocks.0.tap.predictor.2.weight')
    if last_layer is not None and last_layer.size(0) == 1:
        converted = {key: value for key, value in converted.items() if not _PREDICTOR.match(key)}
    return keep_dense(converted) if dense else converted


def keep_dense(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """RVT's weights, in this project's layout, without the norm that only averaged features pass."""
    return {key: value for key, value in state_dict.items() if not key.startswith('norm.')}


def convert_rvt_classifier(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released classifier as ``mmpretrain.ImageClassifier`` with RVT and ``LinearClsHead``."""
    converted = {f'backbone.{key}': value for key, value in convert_rvt_backbone(state_dict, dense=False).items()}
    plain = {key.removeprefix('module.'): value for key, value in state_dict.items()}
    return converted | linear_heads(plain)


def _first_blocks(state_dict: Mapping[str, Tensor]) -> dict[int, int]:
    """Stage to the index, counted over all stages, of its first block."""
    blocks = {(int(match[1]), int(match[2])) for match in map(_BLOCK.match, state_dict) if match}
    return {stage: sum(other < stage for other, _ in blocks) for stage, _ in blocks}
