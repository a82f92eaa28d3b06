"""Checkpoints that survive a full disk, Ctrl-C and SIGKILL."""

import os
import os.path as osp
import re
import zipfile
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import EpochBasedTrainLoop, Runner, find_latest_checkpoint

from mmrobust.engine.atomic_backend import AtomicLocalBackend
from mmrobust.registry import HOOKS

__all__ = ['CheckpointHook']

STOPPED = 'stopped.pth'


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's hook, which writes in place and removes the old checkpoint first, made safe.

    Every file is written completely under another name and then renamed, and what it makes superfluous is removed
    after that. So at every moment there is a checkpoint that ``--resume`` finds and can read. If something else has
    damaged it, resuming takes the one before.

    A run that was killed in a validation starts again with this validation, which follows the checkpoint.

    Attributes:
        saved: (epoch, iteration) that the newest checkpoint of this process resumes at, as ``runner.epoch`` and
            ``runner.iter`` are then; None before the first.

    Args:
        backend_args: File backend; None is ``dict(backend='mmrobust_atomic')``, or MMEngine's choice where ``out_dir``
            is an address such as ``s3://...``.
        **kwargs: As in MMEngine's hook.
    """

    def __init__(self, *args: Any, backend_args: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, backend_args=backend_args, **kwargs)
        if backend_args is None and self.file_client_args is None and '://' not in str(self.out_dir):
            self.backend_args = {'backend': 'mmrobust_atomic'}
        self.saved: tuple[int, int] | None = None
        self._skipped = 0  # batches of the current epoch that an earlier process has trained on

    def before_run(self, runner: Runner) -> None:
        """Before MMEngine resumes: see that ``last_checkpoint`` names a file that is whole, or take the one before.

        Raises:
            ValueError: The file is damaged, and there is no other checkpoint.
        """
        if not runner._resume or runner._load_from is not None:
            return
        named = find_latest_checkpoint(runner.work_dir)
        if named is None or '://' in named or zipfile.is_zipfile(named):
            before = None
        else:  # damaged, or the run's folder has moved since
            folder = osp.dirname(named) if osp.isdir(osp.dirname(named)) else runner.work_dir
            before = self._newest_whole(named, folder)
        barrier()  # no rank may find it repaired and not come here
        if before and is_main_process():
            runner.logger.warning(f'The checkpoint {named} is truncated or gone: resuming from {before} instead.')
            self._name_last_checkpoint(runner, before)
        barrier()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner._resume:
            self._skipped = checkpoint['meta'].get('batches', 0)

    def before_train(self, runner: Runner) -> None:
        """Continue in the middle of an epoch, and validate if this was due when the checkpoint was written."""
        super().before_train(runner)
        self.last_ckpt = runner.message_hub.runtime_info.get('last_ckpt')  # as if this process had written it
        if self._skipped:
            loader = runner.train_dataloader
            loader.sampler.skip_in_next_epoch(self._skipped * loader.batch_size)
        if runner._resume and runner.val_loop is not None and not self._skipped:
            loop = runner.train_loop
            loop._decide_current_val_interval()  # of this epoch or iteration, if it changes while the run lasts
            step, last = _step(runner), loop.max_epochs if _by_epoch(runner) else loop.max_iters
            due = step >= loop.val_begin and (step % loop.val_interval == 0 or step == last)
            if due and runner.message_hub.runtime_info.get('validated') != step:
                runner.val_loop.run()

    def before_train_epoch(self, runner: Runner) -> None:
        self._epoch_start = runner.iter - self._skipped
        self._skipped = 0

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        runner.message_hub.update_info('validated', _step(runner))
        super().after_val_epoch(runner, metrics)

    def batches_of_epoch(self, runner: Runner) -> int:
        """How many batches of the current epoch have been trained on, when an iteration is at its end."""
        return runner.iter + 1 - self._epoch_start

    def save_now(self, runner: Runner, epoch: int, iter: int, batches: int = 0) -> bool:
        """Save between two checkpoints that are due, as ``stopped.pth``, which the next one that is due removes.

        Args:
            runner: Of the run.
            epoch: Epoch to continue with, from 0.
            iter: Iteration to continue with, from 0.
            batches: How many batches of that epoch have been trained on.

        Returns:
            Whether a run can be resumed here: with ``batches`` the sampler must be able to skip them.
        """
        loader = runner.train_dataloader
        if batches and not (hasattr(loader.sampler, 'skip_in_next_epoch') and loader.batch_size):
            return False
        if self.saved != (epoch, iter):
            self._write(runner, STOPPED, {'epoch': epoch, 'iter': iter, 'batches': batches})
        return True

    def _newest_whole(self, named: str, folder: str) -> str:
        """Return the checkpoint with the highest step in ``folder`` that is complete, in place of ``named``.

        A zip archive, which a checkpoint is, has its table of contents at the end: without it, it was cut off.

        Raises:
            ValueError: There is none.
        """
        name = re.compile(re.escape(self.filename_tmpl).replace(r'\{\}', r'(\d+)'))
        matches = (name.fullmatch(path) for path in os.listdir(folder))
        for match in sorted(filter(None, matches), key=lambda match: int(match[1]), reverse=True):
            path = osp.join(folder, match[0])
            if zipfile.is_zipfile(path):
                return path
        raise ValueError(f'The checkpoint {named} is truncated or gone, and there is no whole one beside it to resume.')

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save, then name the checkpoint as the last one, then remove those that are too many."""
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:  # save_best writes the same step again
            outdated = [*self.keep_ckpt_ids, step][: -self.max_keep_ckpts]
            self.keep_ckpt_ids.append(step)  # drops the outdated by its own length
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._write(runner, filename, meta)
        if is_main_process():
            for old in (STOPPED, *map(self.filename_tmpl.format, outdated)):
                self._remove(self.file_backend.join_path(self.out_dir, old))

    def _write(self, runner: Runner, filename: str, meta: dict) -> None:
        """Save, and name the checkpoint as the last one."""
        position = meta['epoch'], meta['iter']
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            self._name_last_checkpoint(runner, self.file_backend.join_path(self.out_dir, filename))
        self.saved = position

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Hide the old best checkpoints from MMEngine, which would remove them first, and remove them afterwards."""
        if not self.save_best:
            return
        single = len(self.key_indicators) == 1
        old = {self.key_indicators[0]: self.best_ckpt_path} if single else dict(self.best_ckpt_path_dict)
        if single:
            self.best_ckpt_path = None
        else:
            self.best_ckpt_path_dict = dict.fromkeys(old)
        super()._save_best_checkpoint(runner, metrics)
        if single:
            self.best_ckpt_path = self.best_ckpt_path or next(iter(old.values()))
            kept = {self.best_ckpt_path}
        else:
            self.best_ckpt_path_dict = {key: path or old[key] for key, path in self.best_ckpt_path_dict.items()}
            kept = set(self.best_ckpt_path_dict.values())
        if is_main_process():
            for path in set(old.values()) - kept - {None}:
                self._remove(path)

    def _name_last_checkpoint(self, runner: Runner, path: str) -> None:
        AtomicLocalBackend().put_text(path, osp.join(runner.work_dir, 'last_checkpoint'))

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)


def _by_epoch(runner: Runner) -> bool:
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


def _step(runner: Runner) -> int:
    """Epochs or iterations trained so far, whichever validations are counted in."""
    return runner.epoch if _by_epoch(runner) else runner.iter
