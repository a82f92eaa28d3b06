r"""A frozen DINOv2-L with a light trainable part on Cityscapes, in the style of Rein (Wei et al., CVPR 2024).

Learnt tokens refine the features between the blocks (mmrobust.TokenRefinement); they and the head are all that is
trained, 3.8 of 308 million parameters. It starts from the weights that timm has under the name of the network, which
are downloaded, or from a file:

    tools/dist_train.sh configs/dinov2_rein_cityscapes.py 4 --amp --cfg-options model.backbone.pretrained=True
    python tools/train.py configs/dinov2_rein_cityscapes.py --amp --cfg-options train_dataloader.batch_size=4 \
        model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=PATH

Checkpoints hold the frozen part as well, so tests take this file and no such options. DINOv3 by one more option,
model.backbone.model_name=vit_large_patch16_dinov3: 1008 is a multiple of patches of 14 and of 16 pixels. A ViT-B needs
model.backbone.out_indices="(2,5,8,11)" and model.decode_head.in_channels="[768,768,768,768]" besides.

Tokens, rank, learning rate, iterations and 4 images a step are the paper's; the weight decay is that of its released
configs, which train for 40000 iterations. The paper's head is Mask2Former's; this is the SegFormer head of the other
configs, and crops are of their size. No run has been made with it.
"""

_base_ = [
    '_base_/models/fan_base_hybrid_segformer.py',
    '_base_/datasets/cityscapes_1024x1024.py',
    '_base_/schedules/adamw_160k.py',
    '_base_/runtime_seg.py',
]

scale = (2016, 1008)  # (width, height), as mmcv writes it: images are one window high
crop_size = (1008, 1008)  # (height, width)
max_iters = 60000

model = dict(
    data_preprocessor=dict(size=crop_size, test_cfg=dict(size_divisor=112)),
    backbone=dict(
        _delete_=True,
        type='mmrobust.TimmViT',
        model_name='vit_large_patch14_dinov2',
        pretrained=False,  # True to train: timm downloads the weights
        adapter=dict(type='mmrobust.TokenRefinement', num_tokens=100, rank=16),
        out_indices=(5, 11, 17, 23),
    ),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024], channels=256),
    test_cfg=dict(crop_size=crop_size, stride=(504, 504)),
)

train_pipeline = [
    dict(type='mmrobust.LoadImageFromFile'),
    dict(type='mmrobust.LoadAnnotations'),
    dict(type='RandomResize', scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
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
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# adapter and head learn at one rate
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={'decode_head': dict(lr_mult=1.0), 'factors_': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
