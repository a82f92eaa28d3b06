"""DeepLabv3+ with Xception-71 on Cityscapes: paper Table IV, row "DeepLabv3+ (X71)"."""

_base_ = 'deeplabv3plus_x65_cityscapes.py'

model = dict(backbone=dict(model_name='xception71'))
