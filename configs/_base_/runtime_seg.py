"""Runtime of every segmentation run: logging, crash-safe checkpoints, exact resume."""

custom_imports = dict(imports=['mmrobust'], allow_failed_imports=False)
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl', timeout=600),
)
sync_bn = 'torch'  # distributed runs share batch statistics: the recipe has one or two images per GPU
randomness = dict(seed=0)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mmrobust.CheckpointHook', by_epoch=False, interval=4000, save_best='mIoU', max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
custom_hooks = [
    dict(type='mmrobust.SeedIterationHook', priority='VERY_HIGH'),
    dict(type='mmrobust.StopOnNonFiniteLossHook'),
    dict(type='mmrobust.StrictLoadHook'),
    dict(type='mmrobust.CountSubstitutesHook'),
    dict(type='mmrobust.DiversificationLogHook'),
    dict(type='mmrobust.StopOnSigtermHook'),
]

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
tta_model = dict(type='SegTTAModel')
