"""ResNet-50 on ImageNet: paper Table III, row "ResNet50". The weights are torchvision's first."""

_base_ = '../timm_imagenet.py'

model = dict(model_name='resnet50.tv_in1k')
load_from = 'https://download.pytorch.org/models/resnet50-0676ba61.pth'
