"""FAN-B-Hybrid with TAP and ADL in its pairwise form on ImageNet. No row of the paper.

Everything else, hardware and commands included, is as in fan_tap_adl_imagenet.py.
"""

_base_ = './fan_tap_adl_imagenet.py'

model = dict(loss_attn=dict(mode='pairwise'))
