"""FAN-L-Hybrid of STL (Zhao et al., ICCV 2023) on ImageNet, to evaluate it; token labels are not trained here."""

_base_ = '../fan_imagenet.py'

model = dict(backbone=dict(arch='large_hybrid'), head=dict(in_channels=480))
