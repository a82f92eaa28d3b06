"""RVT-B in the size of the paper, without TAP: paper Tables 2, 5 and III, row "RVT-B".

../rvt_imagenet.py is the network of the released code instead, which is another; why says mmrobust.RVT.
"""

_base_ = '../rvt_imagenet.py'

model = dict(
    backbone=dict(
        ffn_type='linear',
        arch=dict(_delete_=True, embed_dims=768, depth=12, num_heads=12, scaled_blocks=12),
    ),
)
