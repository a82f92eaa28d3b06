"""PSPNet with ResNet-101 on Cityscapes: paper Table IV, row "PPSNet" (sic).

The paper does not say which ResNet. Network and weights are MMSegmentation's, 80 000 iterations at 512 x 1024.
"""

_base_ = [
    'mmseg::_base_/models/pspnet_r50-d8.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/adamw_160k.py',
    '../_base_/runtime_seg.py',
]

model = dict(data_preprocessor=dict(size=(1024, 1024)), pretrained=None, backbone=dict(depth=101))
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x1024_80k_cityscapes/'
    'pspnet_r101-d8_512x1024_80k_cityscapes_20200606_112211-e1e1100f.pth'
)
