"""DeepLabv3+ with ResNet-101 on Cityscapes: paper Tables 4 and IV, row "DeepLabv3+ (R101)"."""

_base_ = 'deeplabv3plus_r50_cityscapes.py'

model = dict(backbone=dict(depth=101))
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/deeplabv3plus/deeplabv3plus_r101-d8_512x1024_80k_cityscapes/'
    'deeplabv3plus_r101-d8_512x1024_80k_cityscapes_20200606_114143-068fcfe9.pth'
)
