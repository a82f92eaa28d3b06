"""RVT-B* with TAP and ADL on ImageNet.

Paper Table 2, row "+ TAP & ADL": 83.1 top-1, 44.7 mCE, 29.6 mFR, 32.7 (A), 50.2 (R); 92.1 million parameters.
Everything else, hardware and commands included, is as in rvt_imagenet.py.
"""

_base_ = './rvt_imagenet.py'

# mode: as the authors' released code computes ADL; Eq. (2) of the paper as printed is 'paper'
model = dict(
    backbone=dict(tap_cfg=dict(type='mmrobust.TokenAwareAvgPool', num_branches=4)),
    loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', mode='official', tau=2.0, loss_weight=1.0),
)
