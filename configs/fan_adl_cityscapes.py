"""FAN-B-Hybrid with ADL on Cityscapes: paper Table 4, row "+ ADL" (82.4 mIoU published).

Everything else, initial weights and command included, is as in fan_cityscapes.py.
"""

_base_ = './fan_cityscapes.py'

model = dict(loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', tau=2.0, loss_weight=1.0))
