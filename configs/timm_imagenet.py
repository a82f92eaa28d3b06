"""Any classifier of timm on ImageNet, to evaluate it: ResNet-50, ConvNeXt, ViT and the like.

The network is named by an option, its weights by the checkpoint, such as the state dict that timm saves:

    python tools/test.py configs/timm_imagenet.py CHECKPOINT --cfg-options model.model_name=convnext_base

Images are resized to 256 pixels, cut to 224 and normalised as for most networks. Where timm's own settings for a
network differ, give them too, for example `model.data_preprocessor.mean="[127.5,127.5,127.5]"`.
There is nothing to train. Cost: one pass over 50 000 images, not measured.
"""

_base_ = ['_base_/datasets/imagenet_224.py', '_base_/runtime_cls.py']

model = dict(
    type='TimmClassifier',
    model_name='resnet50',
    pretrained=False,  # True: evaluate_robustness.py needs no checkpoint, timm downloads its own
    data_preprocessor=dict(num_classes=1000, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
)
train_dataloader = None
val_dataloader = None
val_evaluator = None
test_cfg = dict()
