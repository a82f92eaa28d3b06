"""FAN-B-Hybrid with TAP on ImageNet.

Paper Table 2, row "+ TAP": 84.3 top-1, 44.9 mCE, 30.3 mFR, 41.0 (A), 53.9 (R); 50.7 million parameters.
Everything else, hardware and commands included, is as in fan_imagenet.py.
"""

_base_ = './fan_imagenet.py'

model = dict(backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)))
