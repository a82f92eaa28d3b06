"""Swin-B with TAP on ImageNet.

The paper has no such row.
Everything else, hardware and commands included, is as in swin_imagenet.py.
"""

_base_ = './swin_imagenet.py'

model = dict(backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)))
