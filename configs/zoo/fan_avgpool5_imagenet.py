"""FAN-B-Hybrid with a 5 x 5 average in TAP's place: paper Table 1, row "+ AvgPool5x5"."""

_base_ = '../fan_avgpool_imagenet.py'

model = dict(backbone=dict(tap_cfg=dict(kernel_size=5)))
