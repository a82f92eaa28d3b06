"""SegFormer-B3 on Cityscapes: beside the paper's tables."""

_base_ = 'segformer_b1_cityscapes.py'

model = dict(backbone=dict(num_layers=[3, 4, 18, 3]))
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b3_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b3_8x1_1024x1024_160k_cityscapes_20211206_224823-a8f8a177.pth'
)
