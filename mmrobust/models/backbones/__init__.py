"""Backbones whose attention can be observed."""

from mmrobust.models.backbones.base import AttentionBackbone
from mmrobust.models.backbones.fan import FAN
from mmrobust.models.backbones.rvt import RVT
from mmrobust.models.backbones.swin import Swin
from mmrobust.models.backbones.timm_vit import DeiT, TimmViT

__all__ = ['FAN', 'RVT', 'AttentionBackbone', 'DeiT', 'Swin', 'TimmViT']
