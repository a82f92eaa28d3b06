"""FAN-B-Hybrid with ADL on ImageNet.

Paper Table 2, row "+ ADL": 84.0 top-1, 44.4 mCE, 29.8 mFR, 41.4 (A), 54.2 (R); 50.4 million parameters.
Everything else, hardware and commands included, is as in fan_imagenet.py.
"""

_base_ = './fan_imagenet.py'

# mode: as the authors' released code computes ADL; Eq. (2) of the paper as printed is 'paper'
model = dict(loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', mode='official', tau=2.0, loss_weight=1.0))
