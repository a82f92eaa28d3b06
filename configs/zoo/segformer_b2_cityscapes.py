"""SegFormer-B2 on Cityscapes: paper Table IV, row "Segformer-B2".

MMSegmentation's decoder is 256 wide, and so are its weights; in SegFormer's paper that of B2 to B5 is 768 wide.
"""

_base_ = 'segformer_b1_cityscapes.py'

model = dict(backbone=dict(num_layers=[3, 4, 6, 3]))
load_from = (
    'https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b2_8x1_1024x1024_160k_cityscapes/'
    'segformer_mit-b2_8x1_1024x1024_160k_cityscapes_20211207_134205-6096669a.pth'
)
