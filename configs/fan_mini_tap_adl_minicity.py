"""A very small FAN-Hybrid with TAP and ADL on MiniCity, whose weights are shipped in mmrobust/model_zoo.

No row of the paper: 287,059 parameters, to try the tools at once. 9 minutes of CPU time; the shipped weights have mIoU
50.97 on the 40 validation streets of MiniCity.

    python tools/dataset_converters/minicity.py
    python tools/train.py configs/fan_mini_tap_adl_minicity.py
    python tools/model_converters/to_hub.py configs/fan_mini_tap_adl_minicity.py CHECKPOINT hub/fan_mini --half
"""

_base_ = './fan_tap_adl_minicity.py'

max_iters = 1119  # the run whose weights are shipped was ended before its schedule
end_of_schedule = 1500
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
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=30, end=end_of_schedule),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
