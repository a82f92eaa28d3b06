r"""Swin-B on ImageNet, the baseline: paper Table 5, row "Swin-B".

Published: 83.4 top-1, 54.4 mCE (ImageNet-C); 87.8 million parameters. The paper says neither how Swin-B is trained nor
on what; this is Swin's own recipe at the paper's 2048 images a step. Neither memory nor hours have been measured.

2048 images a step: 32 GPUs of 64 as it stands. The same on 64 GPUs, on 8, on 1:

    GPUS=64 tools/slurm_train.sh PARTITION swin configs/swin_imagenet.py --amp \
        --cfg-options train_dataloader.batch_size=32
    tools/dist_train.sh configs/swin_imagenet.py 8 --amp --cfg-options optim_wrapper.accumulative_counts=4
    python tools/train.py configs/swin_imagenet.py --amp --cfg-options optim_wrapper.accumulative_counts=32

Another number of images a step, with a learning rate that follows: --auto-scale-lr.
"""

_base_ = [
    '_base_/models/imagenet_classifier.py',
    '_base_/datasets/imagenet_224.py',
    '_base_/schedules/adamw_300e.py',
    '_base_/runtime_cls.py',
]

model = dict(
    backbone=dict(type='mmrobust.Swin', arch='base', out_type='avg_featmap', drop_path_rate=0.5),
    head=dict(in_channels=1024),
)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'relative_position_bias_table': dict(decay_mult=0.0)}), clip_grad=dict(max_norm=5.0)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=5e-4, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20, end=300),
]
train_cfg = dict(max_epochs=300)
