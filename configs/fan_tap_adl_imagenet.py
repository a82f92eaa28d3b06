"""FAN-B-Hybrid with TAP and ADL on ImageNet.

Paper Table 2, row "+ TAP & ADL": 84.3 top-1, 43.7 mCE, 29.2 mFR, 42.3 (A), 54.6 (R); 50.7 million parameters.
Everything else, hardware and commands included, is as in fan_imagenet.py.
"""

_base_ = './fan_imagenet.py'

# mode: as the authors' released code computes ADL; Eq. (2) of the paper as printed is 'paper'
model = dict(
    backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)),
    loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', mode='official', tau=2.0, loss_weight=1.0),
)
