"""Inception v3 on ImageNet: paper Table III, row "Inception v3". The weights are torchvision's, by way of MMPretrain.

Images are 299 x 299; those of ImageNet-C, which are 224 x 224, go to the network as they are.
"""

_base_ = [
    'mmpretrain::_base_/models/inception_v3.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/runtime_cls.py',
]

model = dict(
    data_preprocessor=dict(num_classes=1000, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
)
test_pipeline = [
    dict(type='mmrobust.LoadImageFromFile'),
    dict(type='ResizeEdge', scale=342, edge='short'),
    dict(type='CenterCrop', crop_size=299),
    dict(type='PackInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
train_dataloader = None
val_dataloader = None
val_evaluator = None
test_cfg = dict()
load_from = (
    'https://mmassets.onedl.ai/mmclassification/v0/inception-v3/inception-v3_3rdparty_8xb32_in1k_20220615-dcd4d910.pth'
)
