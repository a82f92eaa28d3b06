r"""DeiT-B on ImageNet, the baseline: paper Table 5, row "DeiT-B".

Published: 82.0 top-1, 48.5 mCE (ImageNet-C); 86.6 million parameters. The paper says neither how DeiT-B is trained nor
on what; this is DeiT's own recipe at the paper's 2048 images a step. Neither memory nor hours have been measured.

2048 images a step: 32 GPUs of 64 as it stands. The same on 64 GPUs, on 8, on 1:

    GPUS=64 tools/slurm_train.sh PARTITION deit configs/deit_imagenet.py --amp \
        --cfg-options train_dataloader.batch_size=32
    tools/dist_train.sh configs/deit_imagenet.py 8 --amp \
        --cfg-options optim_wrapper.accumulative_counts=4 default_hooks.ema.interval=4
    python tools/train.py configs/deit_imagenet.py --amp \
        --cfg-options optim_wrapper.accumulative_counts=32 default_hooks.ema.interval=32

Another number of images a step, with a learning rate that follows: --auto-scale-lr.

Checkpoints hold the averaged weights (EMA), which are what is tested.
"""

_base_ = [
    '_base_/models/imagenet_classifier.py',
    '_base_/datasets/imagenet_224.py',
    '_base_/schedules/adamw_300e.py',
    '_base_/runtime_cls.py',
]

model = dict(
    backbone=dict(type='mmrobust.DeiT', arch='base', out_type='cls_token', drop_path_rate=0.1),
    head=dict(in_channels=768),
)
train_dataloader = dict(sampler=dict(type='mmrobust.SeededRepeatAugSampler', num_repeats=3))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'pos_embed': dict(decay_mult=0.0)}))
default_hooks = dict(ema=dict(type='EMAHook', momentum=4e-5, update_buffers=True, priority='ABOVE_NORMAL'))
