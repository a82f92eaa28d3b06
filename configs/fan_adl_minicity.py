"""FAN-T-Hybrid with ADL on MiniCity: minutes on two CPU cores.

Everything else, initial weights and command included, is as in fan_minicity.py.
"""

_base_ = './fan_minicity.py'

model = dict(loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', tau=2.0, loss_weight=1.0))
