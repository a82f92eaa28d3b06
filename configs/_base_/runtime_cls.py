"""Runtime of every classification run: logging, crash-safe checkpoints, exact resume."""

custom_imports = dict(imports=['mmrobust'], allow_failed_imports=False)
default_scope = 'mmpretrain'
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl', timeout=600),
)
randomness = dict(seed=0)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mmrobust.CheckpointHook', interval=1, save_best='accuracy/top1', max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='VisualizationHook', enable=False),
)
custom_hooks = [
    dict(type='mmrobust.SeedIterationHook', priority='VERY_HIGH'),
    dict(type='mmrobust.StopOnNonFiniteLossHook'),
    dict(type='mmrobust.StrictLoadHook'),
    dict(type='mmrobust.CountSubstitutesHook'),
    dict(type='mmrobust.SyncBuffersHook'),
    dict(type='mmrobust.DiversificationLogHook'),
    dict(type='mmrobust.StopOnSigtermHook'),
]

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends, name='visualizer')
log_level = 'INFO'
load_from = None
resume = False
