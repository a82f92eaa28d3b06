"""The paper's ImageNet schedule: AdamW at 2e-3 for 2048 images, warm-up, 300 epochs of cosine.

Ten more epochs at the lowest rate follow, as in the released commands. Norms, biases and all other vectors have no
weight decay, and neither has the class token.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmrobust.MergedOptimWrapperConstructor',  # a few parameter groups instead of one per parameter
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={'cls_token': dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=5e-4, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5, end=300),
]
train_cfg = dict(by_epoch=True, max_epochs=310, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# lr belongs to 2048 images a step; --auto-scale-lr counts processes times batch_size, not accumulative_counts
auto_scale_lr = dict(enable=False, base_batch_size=2048)
