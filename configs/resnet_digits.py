"""A narrow ResNet-18 on scikit-learn's digits: mCE there is in units of its errors, as of AlexNet's on ImageNet.

15 seconds of CPU time; 82.0 top-1 with seed 0. Two epochs, not eight: a reference that makes hardly an error, as this
network does after eight, is nothing to divide by. Everything else, command included, is as in fan_digits.py.
"""

_base_ = './fan_digits.py'

max_epochs = 2

model = dict(
    backbone=dict(
        _delete_=True, type='ResNet', depth=18, stem_channels=16, base_channels=16, num_stages=4, out_indices=(3,)
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=128),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=1, end=max_epochs, convert_to_iter_based=True, by_epoch=True),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
