"""Layers, backbones, losses and task models."""

from mmrobust.models.backbones import FAN, RVT, AttentionBackbone, DeiT, Swin, TimmViT
from mmrobust.models.classifiers import RobustImageClassifier
from mmrobust.models.decode_heads import FANSegformerHead
from mmrobust.models.losses import AttentionDiversificationLoss
from mmrobust.models.segmentors import RobustEncoderDecoder

__all__ = [
    'FAN',
    'RVT',
    'AttentionBackbone',
    'AttentionDiversificationLoss',
    'DeiT',
    'FANSegformerHead',
    'RobustEncoderDecoder',
    'RobustImageClassifier',
    'Swin',
    'TimmViT',
]
