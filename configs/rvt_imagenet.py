r"""RVT-B* on ImageNet, the baseline: paper Table 2, row "RVT-B".

Published: 82.6 top-1, 46.8 mCE (ImageNet-C), 31.9 mFR (ImageNet-P), 28.5 (ImageNet-A), 48.7 (ImageNet-R); 91.8 million
parameters. This is the network of the released code with TAP, 89.1 million without it: why the sizes disagree says
mmrobust.RVT. The released code trains on 32 GPUs in float32; neither memory nor hours have been measured here.

2048 images a step: 32 GPUs of 64 as it stands. The same on 64 GPUs, on 8, on 1:

    GPUS=64 tools/slurm_train.sh PARTITION rvt configs/rvt_imagenet.py --cfg-options train_dataloader.batch_size=32
    tools/dist_train.sh configs/rvt_imagenet.py 8 \
        --cfg-options optim_wrapper.accumulative_counts=4 default_hooks.ema.interval=4
    python tools/train.py configs/rvt_imagenet.py \
        --cfg-options optim_wrapper.accumulative_counts=32 default_hooks.ema.interval=32

Another number of images a step, with a learning rate that follows: --auto-scale-lr.

Each image passes twice a step, with augmented patches and as it is, and ADL sees the latter (see
mmrobust.RobustImageClassifier). Checkpoints hold the averaged weights (EMA), which are what is tested.
"""

_base_ = [
    '_base_/models/imagenet_classifier.py',
    '_base_/datasets/imagenet_224.py',
    '_base_/schedules/adamw_300e.py',
    '_base_/runtime_cls.py',
]

model = dict(
    backbone=dict(
        type='mmrobust.RVT',
        arch='base_plus',
        out_type='avg_featmap',
        drop_path_rate=0.1,
    ),
    head=dict(in_channels=768, init_cfg=None),  # PyTorch's initial values, as in the blocks
    patch_augment=dict(prob=0.1),
)
train_dataloader = dict(sampler=dict(type='mmrobust.SeededRepeatAugSampler', num_repeats=3))
default_hooks = dict(ema=dict(type='EMAHook', momentum=4e-5, update_buffers=True, priority='ABOVE_NORMAL'))
