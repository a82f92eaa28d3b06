"""Convert released FAN and TAP-FAN weights, of a classifier or a segmentor, to this project's layout.

python tools/model_converters/fan2mmrobust.py tapadl_fan_base.pth.tar checkpoints/fan_tap_adl_imagenet.pth
python tools/model_converters/fan2mmrobust.py tapadl_fan_base_segmentation.pth checkpoints/fan_tap_adl_cityscapes.pth
python tools/model_converters/fan2mmrobust.py fan_base.pth.tar checkpoints/fan_imagenet.pth --ema

The result of a classifier is for `mmpretrain.ImageClassifier`, and for `init_cfg=dict(type='Pretrained',
checkpoint=...)` of any FAN; that of a segmentor is for tools/test.py and the Cityscapes configs.
"""

from collections.abc import Mapping

import conversion  # first: it checks the OpenMMLab stack

# isort: split
import torch
from torch import Tensor, nn

from mmrobust.check.architectures import fan_options
from mmrobust.checkpoint import check_state_dict
from mmrobust.models import FAN, FANSegformerHead
from mmrobust.models.backbones.released_weights import convert_fan_classifier, convert_fan_segmentor


def expected(weights: Mapping[str, Tensor], arch: str, num_branches: int | None, is_segmentor: bool) -> dict:
    """Names and shapes that the converted weights must have, all of them and no other."""
    tap_cfg = None if num_branches is None else dict(num_branches=num_branches)
    with torch.device('meta'):
        backbone = FAN(arch, tap_cfg, out_type='featmap' if is_segmentor else 'cls_token')
        if is_segmentor:
            linear = [weights[f'decode_head.linear_c{level}.weight'] for level in (1, 2, 3, 4)]
            head: nn.Module = FANSegformerHead(
                in_channels=[weight.size(1) for weight in linear],
                in_index=[0, 1, 2, 3],
                channels=linear[0].size(0),
                num_classes=weights['decode_head.conv_seg.weight'].size(0),
                norm_cfg=dict(type='BN'),
            )
            parts = {'backbone.': backbone, 'decode_head.': head}
        else:
            head = nn.Linear(backbone.embed_dims, weights['head.fc.bias'].numel())
            parts = {'backbone.': backbone, 'head.fc.': head}
    return {prefix + key: value for prefix, part in parts.items() for key, value in part.state_dict().items()}


def convert(src: str, dst: str, ema: bool = False) -> str:
    """Convert ``src`` to ``dst``; the file appears when it is whole. Returns what it holds, in words."""
    released = conversion.read_released(src, ema, 'FAN')
    is_segmentor = any(key.removeprefix('module.').startswith('decode_head.') for key in released)
    weights = (convert_fan_segmentor if is_segmentor else convert_fan_classifier)(released)
    needed = ('decode_head.linear_c1.weight', 'decode_head.conv_seg.weight') if is_segmentor else ('head.fc.bias',)
    missing = [key for key in needed if key not in weights]
    if missing:
        raise ValueError(f'{src} has no head: {missing} missing after conversion')
    options = fan_options(weights)
    arch, num_branches = options['arch'], options.get('tap_cfg', {}).get('num_branches')
    check_state_dict(expected(weights, arch, num_branches, is_segmentor), weights, src)
    conversion.write_converted(weights, dict(arch=arch, num_branches=num_branches), dst)
    kind = 'segmentor' if is_segmentor else 'classifier'
    tap = 'without TAP' if num_branches is None else f'with TAP, num_branches={num_branches}'
    return f'{kind}, arch={arch!r}, {tap}, {len(weights)} tensors'


def main(argv: list[str] | None = None) -> None:
    conversion.run(__doc__, convert, argv)


if __name__ == '__main__':
    main()
