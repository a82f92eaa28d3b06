"""FAN-B-Hybrid with ADL on Cityscapes: paper Table 4, row "+ ADL" (82.4 mIoU published).

Everything else, initial weights and command included, is as in fan_cityscapes.py.
"""

_base_ = './fan_cityscapes.py'

# mode: as the authors' released code computes ADL; Eq. (2) of the paper as printed is 'paper'
model = dict(loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', mode='official', tau=2.0, loss_weight=1.0))
