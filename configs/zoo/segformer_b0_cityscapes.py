"""SegFormer-B0 on Cityscapes: paper Table IV, row "Segformer-B0".

Network and weights are MMSegmentation's, 160 000 iterations at 1024 x 1024, as in SegFormer's paper.
"""

_base_ = [
    'mmseg::_base_/models/segformer_mit-b0.py',
    '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/schedules/adamw_160k.py',
    '../_base_/runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=(1024, 1024)),
    test_cfg=dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768)),
)
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b0_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b0_8x1_1024x1024_160k_cityscapes_20211208_101857-e7f88502.pth'
)
