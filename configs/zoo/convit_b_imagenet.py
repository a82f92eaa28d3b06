"""ConViT-B on ImageNet: paper Tables 2 and III, row "ConViT-B"."""

_base_ = '../timm_imagenet.py'

model = dict(model_name='convit_base.fb_in1k')
