"""XCiT-S24/16 on ImageNet, trained without a teacher: paper Table III, row "XCiT-S24"."""

_base_ = '../timm_imagenet.py'

model = dict(model_name='xcit_small_24_p16_224.fb_in1k')
