"""FAN-B-Hybrid with TAP of growing kernels instead of dilations on ImageNet.

Paper Table 1, row "TAP (multi-kernel)": 84.1 top-1, 45.5 mCE; 50.7 million parameters.
Everything else, hardware and commands included, is as in fan_imagenet.py.
"""

_base_ = './fan_imagenet.py'

model = dict(backbone=dict(tap_cfg=dict(type='mmrobust.MultiKernelTokenAwareAvgPool', num_branches=4)))
