"""DeiT-B on ImageNet, with its published weights: paper Tables 5 and III, row "DeiT-B".

To train it, or to add TAP and ADL: ../deit_imagenet.py.
"""

_base_ = '../timm_imagenet.py'

model = dict(model_name='deit_base_patch16_224.fb_in1k')
