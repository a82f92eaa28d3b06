"""Hooks, loops' helpers and optimizers of a training run."""

from mmrobust.engine.any_device import SyncBuffersHook
from mmrobust.engine.attention_logs import AttentionLogHook, DiversificationLogHook, gradient_norm
from mmrobust.engine.checkpoint_hook import CheckpointHook
from mmrobust.engine.compile import CompileHook
from mmrobust.engine.nonfinite_loss import StopOnNonFiniteLossHook
from mmrobust.engine.parameter_groups import MergedOptimWrapperConstructor
from mmrobust.engine.sampling_hooks import CountSubstitutesHook, SeedIterationHook
from mmrobust.engine.stop_on_sigterm import StopOnSigtermHook
from mmrobust.engine.strict_load import StrictLoadHook
from mmrobust.files import AtomicLocalBackend

__all__ = [
    'AtomicLocalBackend',
    'AttentionLogHook',
    'CheckpointHook',
    'CompileHook',
    'CountSubstitutesHook',
    'DiversificationLogHook',
    'MergedOptimWrapperConstructor',
    'SeedIterationHook',
    'StopOnNonFiniteLossHook',
    'StopOnSigtermHook',
    'StrictLoadHook',
    'SyncBuffersHook',
    'gradient_norm',
]
