"""A small FAN with TAP and ADL on scikit-learn's digits: 94 seconds of CPU time.

Everything else, command included, is as in fan_digits.py.
"""

_base_ = './fan_digits.py'

model = dict(
    backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)),
    loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', tau=2.0, loss_weight=1.0),
)
