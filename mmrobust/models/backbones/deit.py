"""DeiT, data-efficient image transformer (Touvron et al., ICML 2021, arXiv:2012.12877), with or without TAP."""

from typing import Any

from mmrobust.models.backbones.base import check_choice
from mmrobust.models.backbones.timm_vit import TimmViT
from mmrobust.registry import MODELS

ARCHS = ('tiny', 'small', 'base')


@MODELS.register_module()
class DeiT(TimmViT):
    """DeiT, the plain vision transformer of the paper's Table 5: patches of 16 pixels, 12 blocks, a class token.

    The architecture and the names of its parameters are timm's, so released DeiT weights fit.

    Args:
        arch: ``'tiny'``, ``'small'`` or ``'base'``: 192, 384 or 768 channels and 3, 6 or 12 heads.
        distilled: with a distillation token; ``out_type='cls_dist_tokens'`` returns both tokens, for
            ``mmpretrain.DeiTClsHead``.
        **kwargs: arguments of :class:`TimmViT`, such as ``tap_cfg``, ``out_type`` and ``drop_path_rate``.

    Raises:
        ImportError: if timm is not installed.
        ValueError: if ``arch`` is none of the three, or as in :class:`TimmViT`.
    """

    def __init__(self, arch: str = 'base', distilled: bool = False, **kwargs: Any) -> None:
        check_choice('arch', arch, ARCHS)
        super().__init__(f'deit_{arch}{"_distilled" if distilled else ""}_patch16_224', **kwargs)
