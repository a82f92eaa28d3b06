"""Mixed precision and data-parallel training on any device, which MMEngine offers on GPUs only; statistics of norms."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce_params
from mmengine.hooks import EMAHook
from mmengine.hooks import SyncBuffersHook as MMEngineSyncBuffersHook
from mmengine.model import MMDistributedDataParallel, is_model_wrapper, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import nn

from mmrobust.registry import HOOKS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16. It needs no loss scaling, so autocast is all there is to it.

    ``AmpOptimWrapper`` with ``dtype='bfloat16'`` scales the loss all the same, which makes every step wait for the GPU,
    and refuses a machine without an accelerator. Checkpoints of both fit both.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield


@MODEL_WRAPPERS.register_module()
class AnyDeviceDataParallel(MMDistributedDataParallel):
    """``MMDistributedDataParallel`` for a model on a CPU as well.

    The runner always passes ``device_ids``, which a model on a CPU must not have, and leaves synchronised batch
    normalisation as it is, which does not train on a CPU: there it becomes plain batch normalisation.
    """

    def __init__(self, module: nn.Module, device_ids: list[int] | None = None, **kwargs) -> None:
        if next(module.parameters()).device.type == 'cpu':
            module, device_ids = revert_sync_batchnorm(module), None
        super().__init__(module, device_ids=device_ids, **kwargs)


@HOOKS.register_module()
class SyncBuffersHook(MMEngineSyncBuffersHook):
    """MMEngine's hook, for the weights that ``EMAHook`` averages too.

    Each rank has counted statistics of its own images. It would validate with these, while a checkpoint holds those of
    rank 0. At the end of an epoch, before both, every rank takes the mean over ranks.
    """

    def after_train_epoch(self, runner: Runner) -> None:
        super().after_train_epoch(runner)
        for hook in runner.hooks if self.distributed else ():
            if isinstance(hook, EMAHook):
                all_reduce_params(hook.ema_model.buffers(), op='mean')


def trained_model(runner: Runner) -> nn.Module:
    """The model of a run, out of the wrapper that a distributed run puts around it."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, and afterwards back in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
