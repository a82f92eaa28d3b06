"""FAN-B-Hybrid with TAP and ADL in its pairwise form on Cityscapes. No row of the paper.

Everything else, initial weights and command included, is as in fan_tap_adl_cityscapes.py.
"""

_base_ = './fan_tap_adl_cityscapes.py'

model = dict(loss_attn=dict(mode='pairwise'))
