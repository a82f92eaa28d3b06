"""ICNet with ResNet-50 on Cityscapes: paper Tables 4 and IV, row "ICNet".

Network and weights are MMSegmentation's, 160 000 iterations at 832 x 832, started from ImageNet weights.
"""

_base_ = [
    'mmseg::_base_/models/icnet_r50-d8.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/adamw_160k.py',
    '../_base_/runtime_seg.py',
]

model = dict(data_preprocessor=dict(size=(1024, 1024)))
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/icnet/icnet_r50-d8_in1k-pre_832x832_160k_cityscapes/'
    'icnet_r50-d8_in1k-pre_832x832_160k_cityscapes_20210926_042715-ce310aea.pth'
)
