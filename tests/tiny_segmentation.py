"""The main job in tiny: model and training pipeline as a config, to which a test adds its data and its length."""

from pathlib import Path

REPO = Path(__file__).parents[1]
TINY_SEGMENTATION = f"""
_base_ = '{REPO}/configs/fan_tap_adl_minicity.py'
model = dict(
    data_preprocessor=dict(size=(32, 64)),
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=16, depth=2, num_heads=2, stem_depths=(1, 1), feature_blocks=(1,)
        ),
        drop_path_rate=0.2,
    ),
    decode_head=dict(in_channels=[128, 256, 16, 16], channels=16),
    loss_attn=dict(tau=0.5),
    test_cfg=dict(crop_size=(32, 64), stride=(24, 48)),
)
train_pipeline = [
    dict(type='mmrobust.LoadImageFromFile'),
    dict(type='mmrobust.LoadAnnotations'),
    dict(type='RandomResize', scale=(64, 32), ratio_range=(1.0, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(32, 64)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
"""
