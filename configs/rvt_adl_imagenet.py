"""RVT-B* with ADL on ImageNet.

Paper Table 2, row "+ ADL": 82.6 top-1, 45.2 mCE, 30.2 mFR, 30.8 (A), 49.8 (R); 91.8 million parameters.
Everything else, hardware and commands included, is as in rvt_imagenet.py.
"""

_base_ = './rvt_imagenet.py'

# mode: as the authors' released code computes ADL; Eq. (2) of the paper as printed is 'paper'
model = dict(loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', mode='official', tau=2.0, loss_weight=1.0))
