"""SETR-PUP with ViT-L on Cityscapes: paper Tables 4 and IV, row "SETR".

The tables disagree on SETR and do not say which of its networks it is. Network and weights are MMSegmentation's, 80 000
iterations at 768 x 768.
"""

_base_ = [
    'mmseg::_base_/models/setr_pup.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/adamw_160k.py',
    '../_base_/runtime_seg.py',
]

crop_size = (768, 768)  # of the weights' position embedding
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    pretrained=None,
    backbone=dict(drop_rate=0.0),
    auxiliary_head=[
        dict(
            type='SETRUPHead',
            in_channels=1024,
            channels=256,
            in_index=index,
            num_classes=19,
            dropout_ratio=0,
            norm_cfg=dict(type='SyncBN', requires_grad=True),
            num_convs=2,
            up_scale=4,
            kernel_size=3,
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
        )
        for index in range(3)
    ],
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(512, 512)),
)
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/setr/setr_pup_vit-large_8x1_768x768_80k_cityscapes/'
    'setr_pup_vit-large_8x1_768x768_80k_cityscapes_20211122_155115-f6f37b8f.pth'
)
