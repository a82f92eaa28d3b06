"""DeepLabv3+ with ResNet-50 on Cityscapes: paper Table IV, row "DeepLabv3+ (R50)".

Network and weights are MMSegmentation's, 80 000 iterations at 512 x 1024; the row is Kamann and Rother's network.
"""

_base_ = [
    'mmseg::_base_/models/deeplabv3plus_r50-d8.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/adamw_160k.py',
    '../_base_/runtime_seg.py',
]

model = dict(data_preprocessor=dict(size=(1024, 1024)), pretrained=None)
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/deeplabv3plus/deeplabv3plus_r50-d8_512x1024_80k_cityscapes/'
    'deeplabv3plus_r50-d8_512x1024_80k_cityscapes_20200606_114049-f9fb496d.pth'
)
