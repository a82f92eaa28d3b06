"""FAN-T-Hybrid with TAP and ADL on MiniCity of 256 x 128 pixels, the other half of `make demo`.

Everything else, initial weights and command included, is as in fan_minicity128.py.
"""

_base_ = './fan_minicity128.py'

model = dict(
    backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)),
    loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', tau=2.0, loss_weight=1.0),
)
