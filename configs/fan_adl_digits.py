"""A small FAN with ADL on scikit-learn's digits: 73 seconds of CPU time.

Everything else, command included, is as in fan_digits.py.
"""

_base_ = './fan_digits.py'

model = dict(loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', tau=2.0, loss_weight=1.0))
