"""A small FAN with TAP on scikit-learn's digits: 77 seconds of CPU time.

Everything else, command included, is as in fan_digits.py.
"""

_base_ = './fan_digits.py'

model = dict(backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)))
