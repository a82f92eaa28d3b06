"""DeiT-B with ADL on ImageNet.

The paper has no such row.
Everything else, hardware and commands included, is as in deit_imagenet.py.
"""

_base_ = './deit_imagenet.py'

model = dict(loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', tau=2.0, loss_weight=1.0))
