"""SegFormer-B4 on Cityscapes: beside the paper's tables."""

_base_ = 'segformer_b1_cityscapes.py'

model = dict(backbone=dict(num_layers=[3, 8, 27, 3]))
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b4_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b4_8x1_1024x1024_160k_cityscapes_20211207_080709-07f6c333.pth'
)
