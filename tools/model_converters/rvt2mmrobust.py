"""Convert released RVT and TAP-RVT weights to this project's layout.

python tools/model_converters/rvt2mmrobust.py tapadl_rvt_base.pth.tar checkpoints/rvt_tap_adl_imagenet.pth
python tools/model_converters/rvt2mmrobust.py rvt_base.pth checkpoints/rvt_imagenet.pth
python tools/model_converters/rvt2mmrobust.py rvt_base.pth checkpoints/rvt_ema.pth --ema

The result is for `mmpretrain.ImageClassifier`, and for `init_cfg=dict(type='Pretrained', checkpoint=...)` of any RVT.
The tool prints the arguments of RVT that fit the weights; the checkpoint's `meta` has them too.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import conversion  # first: it checks the OpenMMLab stack

# isort: split
import torch
from torch import Tensor, nn

from mmrobust.checkpoint import check_state_dict
from mmrobust.models import RVT
from mmrobust.models.backbones.rvt import ARCHS, PATCH_SIZE
from mmrobust.models.backbones.rvt_checkpoint import convert_rvt_classifier, is_released_rvt

WIDTH = re.compile(r'^backbone\.blocks\.(\d+)\.norm1\.weight$')
SCALING = re.compile(r'^backbone\.blocks\.\d+\.position_scaling\.logits$')


def find_options(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of RVT that the converted weights fit.

    ``arch`` is a name of ``ARCHS`` where there is one, and a dict where only the number of scaled blocks is another.

    Raises:
        ValueError: no arch has blocks of these channels.
    """
    widths = {int(match[1]): weights[match[0]].numel() for match in map(WIDTH.match, weights) if match}
    widths = [widths[index] for index in sorted(widths)]
    scaling = [value for key, value in weights.items() if SCALING.match(key)]
    alike = {name: arch for name, arch in ARCHS.items() if widths_of(arch) == widths}
    if not alike:
        raise ValueError(f'no RVT arch has {len(widths)} blocks with {widths} channels; known are {sorted(ARCHS)}')
    named = [name for name, arch in alike.items() if arch['scaled_blocks'] == len(scaling)]
    options: dict[str, Any] = dict(
        arch=named[0] if named else next(iter(alike.values())) | dict(scaled_blocks=len(scaling)),
        ffn_type='conv' if 'backbone.blocks.0.mlp.dwconv.weight' in weights else 'linear',
    )
    predictor = weights.get('backbone.blocks.0.tap.predictor.0.weight')
    if predictor is not None:
        options['tap_cfg'] = dict(num_branches=predictor.size(0))
    if scaling:
        options['img_size'] = PATCH_SIZE * math.isqrt(scaling[0].size(-1))  # all released grids are square
    return options


def widths_of(arch: Mapping[str, Any]) -> list[int]:
    """Channels of every block."""
    with torch.device('meta'):
        return [block.norm1.weight.numel() for block in RVT(arch, out_type='avg_featmap').blocks]


def convert(src: str, dst: str, ema: bool = False) -> str:
    """Convert ``src`` to ``dst``; the file appears when it is whole. Returns what it holds, in words."""
    weights = convert_rvt_classifier(conversion.read_released(src, ema, 'RVT', is_released_rvt))
    if 'head.fc.bias' not in weights:
        raise ValueError(f"{src} has no head: ['head.fc.bias'] missing after conversion")
    options = find_options(weights)
    with torch.device('meta'):
        backbone = RVT(**options, out_type='avg_featmap')
        head = nn.Linear(backbone.embed_dims, weights['head.fc.bias'].numel())
    expected = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    expected |= {f'head.fc.{key}': value for key, value in head.state_dict().items()}
    check_state_dict(expected, weights, src)
    conversion.write_converted(weights, options, dst)
    arguments = ', '.join(f'{key}={value!r}' for key, value in options.items())
    return f'classifier, {arguments}, {len(weights)} tensors'


def main(argv: list[str] | None = None) -> None:
    conversion.run(__doc__, convert, argv)


if __name__ == '__main__':
    main()
