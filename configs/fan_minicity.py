"""FAN-T-Hybrid on MiniCity, the baseline of `make demo-full`: minutes on two CPU cores, from random weights.

The Cityscapes config with another data root, a small FAN and a short schedule.

    python tools/dataset_converters/minicity.py
    python tools/train.py configs/fan_minicity.py
"""

_base_ = './fan_cityscapes.py'

data_root = 'data/minicity/'
scale = (256, 128)  # (width, height), as mmcv writes it: half of what is drawn, for the sake of two cores
crop_size = (128, 256)  # (height, width)
num_channels = 128
max_iters = 350

model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(arch='tiny_hybrid', paired_frequencies=True),
    decode_head=dict(in_channels=[128, 256, 192, 192], channels=num_channels),
    test_cfg=dict(crop_size=crop_size, stride=(128, 192)),
)

train_pipeline = [
    dict(type='mmrobust.LoadImageFromFile'),
    dict(type='mmrobust.LoadAnnotations'),
    dict(type='RandomResize', scale=scale, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='mmrobust.LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='mmrobust.LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

# from random weights everything learns at one rate, and faster than in fine-tuning
optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    paramwise_cfg=dict(custom_keys={'decode_head': dict(lr_mult=1.0)}),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=30),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=30, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=50))
