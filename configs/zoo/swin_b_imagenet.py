"""Swin-B on ImageNet, with its published weights: paper Tables 2, 5 and III, row "Swin-B".

To train it, or to add TAP and ADL: ../swin_imagenet.py.
"""

_base_ = '../timm_imagenet.py'

model = dict(model_name='swin_base_patch4_window7_224.ms_in1k')
