"""SegFormer-B5 on Cityscapes: paper Tables 4 and IV, row "Segformer-B5"."""

_base_ = 'segformer_b1_cityscapes.py'

model = dict(backbone=dict(num_layers=[3, 6, 40, 3]))
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b5_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b5_8x1_1024x1024_160k_cityscapes_20211206_072934-87a052ec.pth'
)
