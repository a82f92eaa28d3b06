"""Convert released FAN and TAP-FAN weights, of a classifier or a segmentor, to this project's layout.

python tools/model_converters/fan2mmrobust.py tapadl_fan_base.pth.tar checkpoints/fan_tap_adl_imagenet.pth
python tools/model_converters/fan2mmrobust.py tapadl_fan_base_segmentation.pth checkpoints/fan_tap_adl_cityscapes.pth

The result of a classifier is for `mmpretrain.ImageClassifier`, and for `init_cfg=dict(type='Pretrained',
checkpoint=...)` of any FAN; that of a segmentor is for tools/test.py and the Cityscapes configs.
"""

import argparse
import io
from collections.abc import Mapping

from mmrobust import cli  # first: it checks the OpenMMLab stack

# isort: split
import torch
from torch import Tensor, nn

from mmrobust.checkpoint import check_state_dict, load_checkpoint_file
from mmrobust.engine import AtomicLocalBackend
from mmrobust.models import FAN, FANSegformerHead
from mmrobust.models.backbones.fan import ARCHS
from mmrobust.models.backbones.fan_checkpoint import convert_fan_classifier, convert_fan_segmentor, is_released_fan


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Convert released FAN and TAP-FAN weights.')
    parser.add_argument('src', help='released checkpoint')
    parser.add_argument('dst', help='converted checkpoint to write')
    parser.add_argument('--ema', action='store_true', help="take the classifier's averaged weights (state_dict_ema)")
    return parser.parse_args(argv)


def weights_of(checkpoint: Mapping, ema: bool, source: str) -> Mapping[str, Tensor]:
    """The state_dict in a checkpoint of timm, of OpenMMLab, or without a frame.

    Raises:
        ValueError: there is none, or it is not that of a released FAN.
    """
    key = 'state_dict_ema' if ema else 'state_dict'
    if ema and key not in checkpoint:
        raise ValueError(f'{source} holds no state_dict_ema, only {sorted(map(str, checkpoint))[:8]}')
    state_dict = checkpoint.get(key, checkpoint)
    if not isinstance(state_dict, Mapping) or not is_released_fan(state_dict):
        raise ValueError(f'{source} is not a released FAN: its keys begin {list(state_dict)[:3]}')
    return state_dict


def find_arch(weights: Mapping[str, Tensor]) -> tuple[str, int | None]:
    """Name of the arch in FAN's ``ARCHS``, and TAP's number of branches, None without TAP.

    Raises:
        ValueError: no arch has this kind of stem, channels and depth.
    """
    depth = len({key.split('.')[2] for key in weights if key.startswith('backbone.blocks.')})
    embed_dims = weights['backbone.blocks.0.norm1.weight'].numel()
    is_hybrid = 'backbone.patch_embed.stem.0.weight' in weights
    for name, arch in ARCHS.items():
        with torch.device('meta'):
            blocks = FAN(name, out_indices=(0,)).blocks
        if (len(blocks), blocks[0].gamma1.numel(), 'stem_depths' in arch) == (depth, embed_dims, is_hybrid):
            predictor = weights.get('backbone.blocks.0.tap.predictor.0.weight')
            return name, None if predictor is None else predictor.size(0)
    kind = 'Hybrid' if is_hybrid else 'ViT'
    raise ValueError(f'no FAN arch is a {kind} of {depth} blocks with {embed_dims} channels; known are {sorted(ARCHS)}')


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
    released = weights_of(load_checkpoint_file(src), ema, src)
    is_segmentor = any(key.removeprefix('module.').startswith('decode_head.') for key in released)
    weights = (convert_fan_segmentor if is_segmentor else convert_fan_classifier)(released)
    needed = ('decode_head.linear_c1.weight', 'decode_head.conv_seg.weight') if is_segmentor else ('head.fc.bias',)
    missing = [key for key in needed if key not in weights]
    if missing:
        raise ValueError(f'{src} has no head: {missing} missing after conversion')
    arch, num_branches = find_arch(weights)
    check_state_dict(expected(weights, arch, num_branches, is_segmentor), weights, src)
    content = io.BytesIO()
    torch.save({'meta': dict(arch=arch, num_branches=num_branches), 'state_dict': weights}, content)
    AtomicLocalBackend().put(content.getvalue(), dst)
    kind = 'segmentor' if is_segmentor else 'classifier'
    tap = 'without TAP' if num_branches is None else f'with TAP, num_branches={num_branches}'
    return f'{kind}, arch={arch!r}, {tap}, {len(weights)} tensors'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with cli.one_sentence():
        print(f'{args.dst}: {convert(args.src, args.dst, args.ema)}')


if __name__ == '__main__':
    main()
