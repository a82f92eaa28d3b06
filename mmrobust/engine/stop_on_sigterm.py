"""Saves a checkpoint and exits with 143 after SIGTERM, as clusters send it."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch import nn

from mmrobust.engine.checkpoint_hook import CheckpointHook
from mmrobust.engine.resumed_run import gradients_are_used
from mmrobust.processes import EXIT_CODE, noted_sigterm, outlive_sigterm
from mmrobust.registry import HOOKS


@HOOKS.register_module()
class StopOnSigtermHook(Hook):
    """On SIGTERM finish the iteration, save a checkpoint, say so in one line, and exit with code 143.

    Slurm, Kubernetes and torchrun send SIGTERM, and SIGKILL after a time of grace. The ranks agree on the iteration, so
    one that has the signal is enough. Resuming gives the undisturbed run:

    - With ``accumulative_counts`` the run goes on until the gradients are used.
    - In the middle of an epoch of ``EpochBasedTrainLoop`` it needs a sampler that can start there, such as
      ``SeededEpochSampler``; with another one nothing is saved, and the checkpoint of the last epoch is the newest.
    - A validation is given up at once where a checkpoint was written before it, and finished where not: its weights may
      be averaged ones. The resumed run does it again.

    A second signal, more than a second after the first, ends the process at once: something hangs.

    Loading processes that got the signal too, as whole groups of processes do, go on until the checkpoint is there.

    Without ``mmrobust.CheckpointHook``, or in a thread, it does nothing, and a warning says so.

    Raises:
        SystemExit: with code 143.
    """

    priority = 'LOWEST'  # after the checkpoint that is due anyway

    def __init__(self) -> None:
        self.received: list[float] = []

    def before_run(self, runner: Runner) -> None:
        loop = runner._train_loop  # the property would build it, and its data set, where there is only a test
        if not isinstance(loop, BaseLoop):
            return
        self.checkpoints = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if self.checkpoints and threading.current_thread() is threading.main_thread():
            loop.run = functools.partial(self._run, loop.run)
        else:
            runner.logger.warning(
                'SIGTERM will lose what comes after the last checkpoint: this needs mmrobust.CheckpointHook, and '
                'signals reach the main thread alone.'
            )

    def before_train(self, runner: Runner) -> None:
        for loop in filter(None, (runner.train_loop, runner.val_loop)):
            outlive_sigterm(loop.dataloader)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if not self._agreed() or not gradients_are_used(runner):
            return
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        batches = self.checkpoints.batches_of_epoch(runner) if by_epoch else 0
        self._stop(runner, epoch=runner.epoch, iter=runner.iter + 1, batches=batches)

    def after_val_iter(self, runner: Runner, *args, **kwargs) -> None:
        # without the other ranks: they may have fewer batches, and there is nothing left to do together
        if self.received and self.checkpoints.saved == (runner.epoch, runner.iter):
            self._stop(runner, epoch=runner.epoch, iter=runner.iter)

    def after_val(self, runner: Runner) -> None:
        if self._agreed() and gradients_are_used(runner):
            self._stop(runner, epoch=runner.epoch, iter=runner.iter)

    def _run(self, run: Callable[[], nn.Module]) -> nn.Module:
        """Around the loop, because no hook is called where it ends with an error."""
        with noted_sigterm() as self.received:
            return run()

    def _agreed(self) -> bool:
        received = torch.tensor(int(bool(self.received)))
        all_reduce(received, op='max')
        return bool(received)

    def _stop(self, runner: Runner, **position: int) -> None:
        saved = self.checkpoints.save_now(runner, **position)
        runner.logger.warning(
            f'Stopped by SIGTERM after iteration {position["iter"]}, '
            + ('and saved: ' if saved else 'which cannot be saved in the middle of an epoch with this sampler: ')
            + '--resume continues.'
        )
        raise SystemExit(EXIT_CODE)
