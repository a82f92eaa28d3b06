"""Released Swin weights in this project's layout: a map from names to names, no model needed.

Released are classifiers, by the authors of Swin and in timm. Names differ where blocks are counted stage by stage and
where the steps between stages and the final norm lie; the values are the same.
"""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

_BLOCK = re.compile(r'^layers\.(\d+)\.blocks\.(\d+)\.')
_MERGING = re.compile(r'^layers\.(\d+)\.downsample\.')
_FINAL_NORM = re.compile(r'^norm\.')
# the head, and what is computed from the sizes of windows and images
_LEFT_OUT = re.compile(r'^head\.|\.relative_position_index$|\.attn_mask$')


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
        if _LEFT_OUT.search(key):
            continue
        key = _BLOCK.sub(lambda found: f'blocks.{sum(depths[: int(found[1])]) + int(found[2])}.', key)
        key = _MERGING.sub(lambda found: f'mergings.{int(found[1]) - (not leaves)}.', key)
        converted[_FINAL_NORM.sub(f'norms.{len(depths) - 1}.', key)] = value
    return converted
