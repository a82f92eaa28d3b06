"""The paper's segmentation schedule: 160k iterations of AdamW, linear warm-up, then a straight line to zero."""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmrobust.MergedOptimWrapperConstructor',  # a few parameter groups instead of one per parameter
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0), 'decode_head': dict(lr_mult=10.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=160000),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=4000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# lr belongs to 4 GPUs of one image, the released command; with --auto-scale-lr it follows the number of images
auto_scale_lr = dict(enable=False, base_batch_size=4)
