"""FAN-T-Hybrid on MiniCity of 256 x 128 pixels, the baseline of `make demo`: two minutes on one CPU core.

fan_minicity.py on fewer and smaller images, with smaller crops and half as many iterations.

    python tools/dataset_converters/minicity.py --out data/minicity128 --size 256 128 --num-train 96 --num-val 24 \\
        --num-acdc 12
    python tools/train.py configs/fan_minicity128.py
"""

_base_ = './fan_minicity.py'

data_root = 'data/minicity128/'
crop_size = (128, 128)  # (height, width)
max_iters = 160

model = dict(data_preprocessor=dict(size=crop_size))

train_pipeline = [
    dict(type='mmrobust.LoadImageFromFile'),
    dict(type='mmrobust.LoadAnnotations'),
    dict(type='RandomResize', scale={{_base_.scale}}, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=20),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=20, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=40))
