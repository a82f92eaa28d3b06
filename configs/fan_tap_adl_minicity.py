"""FAN-T-Hybrid with TAP and ADL on MiniCity, the other half of `make demo-full`: minutes on two CPU cores.

Everything else, initial weights and command included, is as in fan_minicity.py.
"""

_base_ = './fan_minicity.py'

model = dict(
    backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)),
    loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', tau=2.0, loss_weight=1.0),
)
