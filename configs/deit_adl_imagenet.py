"""DeiT-B with ADL on ImageNet.

The paper has no such row.
Everything else, hardware and commands included, is as in deit_imagenet.py.
"""

_base_ = './deit_imagenet.py'

# mode: as the authors' released code computes ADL, which has no DeiT; Eq. (2) of the paper as printed is 'paper'
model = dict(loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', mode='official', tau=2.0, loss_weight=1.0))
