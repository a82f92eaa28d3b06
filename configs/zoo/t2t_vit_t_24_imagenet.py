"""T2T-ViT_t-24 on ImageNet: paper Tables 2 and III, row "T2T-ViT-t-24". Network and weights are MMPretrain's."""

_base_ = [
    'mmpretrain::_base_/models/t2t-vit-t-24.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/runtime_cls.py',
]

model = dict(
    data_preprocessor=dict(num_classes=1000, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
)
test_pipeline = [step if step.type != 'ResizeEdge' else dict(step, scale=248) for step in _base_.test_pipeline]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
train_dataloader = None
val_dataloader = None
val_evaluator = None
test_cfg = dict()
load_from = 'https://mmassets.onedl.ai/mmclassification/v0/t2t-vit/t2t-vit-t-24_8xb64_in1k_20211214-b2a68ae3.pth'
