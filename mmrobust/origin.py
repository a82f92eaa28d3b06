"""Whose weights these are, by their names: the one place that decides it, and says what they are for."""

import re
from collections.abc import Iterable
from typing import NamedTuple

# kind, network, and what some of the names begin with, without ``module.`` and ``backbone.``; the first that fits
_SIGNS = (
    ('TAPADL', 'RVT', (r'transformers\.\d+\.blocks\.\d+\.dilation_predictor\.',)),
    ('RVT', 'RVT', (r'transformers\.\d+\.blocks\.\d+\.',)),
    ('TAPADL', 'FAN', (r'blocks\.0\.dilation_predictor\.',)),
    ('NVlabs FAN', 'FAN', (r'patch_embed\.(backbone\.stem|proj\.\d+)\.',)),
    ('Swin', 'Swin', (r'layers\.\d+\.blocks\.\d+\.',)),
    ('mmrobust', 'FAN', (r'blocks\.0\.gamma1$', r'pos_embed\.')),
    ('mmrobust', 'RVT', (r'blocks\.0\.attn\.kv\.', r'patch_embed\.0\.')),
    ('mmrobust', 'Swin', (r'blocks\.0\.attn\.relative_position_bias_table$',)),
    ('timm', 'ViT', (r'blocks\.0\.attn\.qkv\.weight$', r'patch_embed\.')),
)
_HEAD_OF_TRAINING = re.compile(r'(dino_head|ibot_head|head\.mlp|head\.last_layer)\.')
_USES = {
    'mmrobust': 'its own config with tools/test.py; a backbone also as model.backbone.init_cfg',
    'mmseg': 'its own config with tools/test.py',
    'mmpretrain': 'its own config with tools/test.py',
    'TAPADL': 'a config of the same network with TAP, as it is or converted by tools/model_converters',
    'NVlabs FAN': 'a config of the same network without TAP, as it is or converted by tools/model_converters',
    'RVT': 'a config of the same network without TAP, as it is or converted by tools/model_converters',
    'Swin': 'mmrobust.Swin, as the whole classifier or as model.backbone.init_cfg',
    'timm': 'timm:NAME in place of a config to evaluate them, and mmrobust.TimmViT, as in '
    'configs/timm_vit_imagenet.py, to train from them and observe them',
    'unknown': 'a config whose model has these names',
}


class Origin(NamedTuple):
    """Whose weights some names are.

    Attributes:
        kind: ``'mmrobust'``, ``'mmseg'``, ``'mmpretrain'``, ``'timm'`` (and what has timm's names), ``'NVlabs FAN'``,
            ``'TAPADL'`` (released FAN and RVT with TAP), ``'RVT'``, ``'Swin'`` (its authors' and timm's) or
            ``'unknown'``.
        network: ``'FAN'``, ``'RVT'``, ``'Swin'``, ``'ViT'``, or '' for another one.
        part: ``'segmentor'``, ``'classifier'``, or ``'backbone'`` if there is no head.
    """

    kind: str
    network: str
    part: str

    @property
    def is_foreign(self) -> bool:
        """Whether a backbone of this project takes these names by changing them."""
        return self.kind in ('TAPADL', 'NVlabs FAN', 'RVT', 'Swin', 'timm')

    @property
    def use(self) -> str:
        """What these weights need, in words."""
        return _USES[self.kind]

    def __str__(self) -> str:
        network = '' if self.network in self.kind else f'{self.network} '
        return f'{self.kind} {network}{self.part}'


def origin_of(names: Iterable[str]) -> Origin:
    """Tell by the names of weights, a ``state_dict`` or its keys, whose they are."""
    names = [name.removeprefix('module.') for name in names]
    is_task_model = any(name.startswith('backbone.') for name in names)
    is_segmentor = any(name.startswith('decode_head.') for name in names)
    bare = [name.removeprefix('backbone.') for name in names]
    has_head = any(re.match(r'(head|head_dist|fc|classifier)\.', name) for name in names)
    of_training = any(map(_HEAD_OF_TRAINING.match, names))
    part = 'segmentor' if is_segmentor else 'classifier' if has_head and not of_training else 'backbone'
    for kind, network, signs in _SIGNS:
        if all(any(re.match(sign, name) for name in bare) for sign in signs):
            of_task_model = is_task_model and not of_training
            is_own = kind == 'timm' and (of_task_model or any('.tap.' in name for name in bare))
            return Origin('mmrobust' if is_own else kind, network, part)
    if is_task_model:
        return Origin('mmseg' if is_segmentor else 'mmpretrain' if has_head else 'unknown', '', part)
    return Origin('unknown', '', part)
