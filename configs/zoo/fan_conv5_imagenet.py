"""FAN-B-Hybrid with a 5 x 5 convolution in TAP's place: paper Table 1, row "+ Conv5x5"."""

_base_ = '../fan_conv_imagenet.py'

model = dict(backbone=dict(tap_cfg=dict(kernel_size=5)))
