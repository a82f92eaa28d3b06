"""ResNet-50 trained with adversarial noise training on ImageNet: paper Table III, row "ANT".

The network is resnet50_imagenet.py; where the weights are says docs/reference/model_zoo.md.
"""

_base_ = 'resnet50_imagenet.py'

load_from = None
