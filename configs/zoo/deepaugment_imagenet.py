"""ResNet-50 trained with DeepAugment on ImageNet: paper Table III, row "DeepAugment".

The network is resnet50_imagenet.py; where the weights are says docs/reference/model_zoo.md.
"""

_base_ = 'resnet50_imagenet.py'

load_from = None
