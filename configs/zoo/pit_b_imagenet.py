"""PiT-B on ImageNet, trained without a teacher: paper Table III, row "PiT-B"."""

_base_ = '../timm_imagenet.py'

model = dict(model_name='pit_b_224.in1k')
