"""FAN-B-Hybrid of STL (Zhao et al., ICCV 2023) on ImageNet, to evaluate it; token labels are not trained here."""

_base_ = '../fan_imagenet.py'
