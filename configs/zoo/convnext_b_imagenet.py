"""ConvNeXt-B on ImageNet: paper Tables 2 and III, row "ConvNeXt-B"."""

_base_ = '../timm_imagenet.py'

model = dict(model_name='convnext_base.fb_in1k')
