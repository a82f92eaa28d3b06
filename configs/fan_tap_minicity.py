"""FAN-T-Hybrid with TAP on MiniCity: minutes on two CPU cores.

Everything else, initial weights and command included, is as in fan_minicity.py.
"""

_base_ = './fan_minicity.py'

model = dict(backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)))
