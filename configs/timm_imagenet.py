"""Any classifier of timm on ImageNet, to evaluate it: ResNet-50, ConvNeXt, ViT and the like.

The network is named by an option, its weights by the checkpoint, such as the state dict that timm saves:

    python tools/test.py configs/timm_imagenet.py CHECKPOINT --cfg-options model.model_name=convnext_base

Images are resized, cut and normalised as timm says for the network: its mean, std, size, crop and interpolation. Where
the weights were trained otherwise, say so, for example `model.data_preprocessor.mean="[127,127,127]"`, or by the steps
of a `test_pipeline` of your own.
There is nothing to train. Cost: one pass over 50 000 images, not measured.
"""

_base_ = ['_base_/datasets/imagenet_224.py', '_base_/runtime_cls.py']

model = dict(
    type='mmrobust.TimmClassifier',
    model_name='resnet50',
    pretrained=False,  # True: evaluate_robustness.py needs no checkpoint, timm downloads its own
    data_preprocessor=dict(num_classes=1000, mean='timm', std='timm', to_rgb=True),  # the network's own
)
test_pipeline = [
    dict(type='mmrobust.LoadImageFromFile'),
    dict(type='mmrobust.ResizeAndCropOfTimm'),
    dict(type='PackInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
train_dataloader = None
val_dataloader = None
val_evaluator = None
test_cfg = dict()
