"""Decode heads."""

from mmrobust.models.decode_heads.fan_segformer_head import FANSegformerHead

__all__ = ['FANSegformerHead']
