"""Convert released RVT and TAP-RVT weights to this project's layout.

python tools/model_converters/rvt2mmrobust.py tapadl_rvt_base.pth.tar checkpoints/rvt_tap_adl_imagenet.pth
python tools/model_converters/rvt2mmrobust.py rvt_base.pth checkpoints/rvt_imagenet.pth
python tools/model_converters/rvt2mmrobust.py rvt_base.pth checkpoints/rvt_ema.pth --ema

The result is for `mmpretrain.ImageClassifier`, and for `init_cfg=dict(type='Pretrained', checkpoint=...)` of any RVT.
The tool prints the arguments of RVT that fit the weights; the checkpoint's `meta` has them too.
"""

import conversion  # first: it checks the OpenMMLab stack

# isort: split
import torch
from torch import nn

from mmrobust.check.architectures import rvt_options
from mmrobust.checkpoint import check_state_dict
from mmrobust.models import RVT
from mmrobust.models.backbones.released_weights import convert_rvt_classifier


def convert(src: str, dst: str, ema: bool = False) -> str:
    """Convert ``src`` to ``dst``; the file appears when it is whole. Returns what it holds, in words."""
    weights = convert_rvt_classifier(conversion.read_released(src, ema, 'RVT'))
    if 'head.fc.bias' not in weights:
        raise ValueError(f"{src} has no head: ['head.fc.bias'] missing after conversion")
    options = rvt_options(weights)
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
