"""FAN-B-Hybrid with TAP and ADL on Cityscapes: paper Table 4, row "+ TAP & ADL" (82.9 mIoU published).

Everything else, initial weights and command included, is as in fan_cityscapes.py.
"""

_base_ = './fan_cityscapes.py'

# mode: as the authors' released code computes ADL; Eq. (2) of the paper as printed is 'paper'
model = dict(
    backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)),
    loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', mode='official', tau=2.0, loss_weight=1.0),
)
