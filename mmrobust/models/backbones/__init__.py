"""Backbones whose attention can be observed."""

from mmrobust.models.backbones.base import AttentionBackbone
from mmrobust.models.backbones.fan import FAN

__all__ = ['FAN', 'AttentionBackbone']
