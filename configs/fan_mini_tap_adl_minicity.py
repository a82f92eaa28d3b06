"""A very small FAN-Hybrid with TAP and ADL on MiniCity, whose weights are shipped.

python tools/dataset_converters/minicity.py
python tools/train.py configs/fan_mini_tap_adl_minicity.py
"""

_base_ = './fan_tap_adl_minicity.py'

max_iters = 1500
num_channels = 48

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=48,
            depth=4,
            num_heads=4,
            stem_depths=(2, 2),
            stem_channels=(32, 64),
            feature_blocks=(3,),
        ),
    ),
    decode_head=dict(in_channels=[32, 64, 48, 48], channels=num_channels, dropout_ratio=0.0),
)
train_dataloader = dict(batch_size=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=30),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=30, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
