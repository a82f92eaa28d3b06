"""Swin-T with UPerNet on Cityscapes: paper Tables 4 and IV, row "Swin-T".

The paper does not say which head; UPerNet is the one of Swin's paper, which publishes no weights for Cityscapes.
"""

_base_ = [
    'mmseg::_base_/models/upernet_swin.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/adamw_160k.py',
    '../_base_/runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    test_cfg=dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768)),
)
