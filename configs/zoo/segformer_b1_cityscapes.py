"""SegFormer-B1 on Cityscapes: paper Table IV, row "Segformer-B1"."""

_base_ = 'segformer_b0_cityscapes.py'

model = dict(backbone=dict(embed_dims=64), decode_head=dict(in_channels=[64, 128, 320, 512]))
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b1_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b1_8x1_1024x1024_160k_cityscapes_20211208_064213-655c7b3f.pth'
)
