"""RVT-B* with TAP on ImageNet.

Paper Table 2, row "+ TAP": 83.0 top-1, 45.5 mCE, 30.6 mFR, 30.0 (A), 49.4 (R); 92.1 million parameters.
Everything else, hardware and commands included, is as in rvt_imagenet.py.
"""

_base_ = './rvt_imagenet.py'

model = dict(backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)))
