"""FAN-B-Hybrid with TAP on Cityscapes: paper Table 4, row "+ TAP" (82.7 mIoU published).

Everything else, initial weights and command included, is as in fan_cityscapes.py.
"""

_base_ = './fan_cityscapes.py'

model = dict(backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)))
