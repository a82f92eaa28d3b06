"""Statistics of plain batch norm, the same on every rank when an epoch ends."""

from mmengine.dist import all_reduce_params
from mmengine.hooks import EMAHook
from mmengine.hooks import SyncBuffersHook as MMEngineSyncBuffersHook
from mmengine.runner import Runner

from mmrobust.registry import HOOKS

__all__ = ['SyncBuffersHook']


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
