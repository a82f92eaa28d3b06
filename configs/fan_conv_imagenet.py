"""FAN-B-Hybrid with a convolution in TAP's place on ImageNet.

Paper Table 1, row "Conv3x3": 84.0 top-1, 45.9 mCE; 79.4 million parameters. Row "Conv5x5" (84.4, 45.8; 130.7 million):
add `--cfg-options model.backbone.tap_cfg.kernel_size=5`.
Everything else, hardware and commands included, is as in fan_imagenet.py.
"""

_base_ = './fan_imagenet.py'

model = dict(backbone=dict(tap_cfg=dict(type='mmrobust.TokenConv', kernel_size=3)))
