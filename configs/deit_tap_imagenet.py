"""DeiT-B with TAP on ImageNet.

The paper has no such row.
Everything else, hardware and commands included, is as in deit_imagenet.py.
"""

_base_ = './deit_imagenet.py'

model = dict(backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)))
