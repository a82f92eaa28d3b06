"""Checkpoints that survive a full disk, Ctrl-C and SIGKILL."""

import os
import os.path as osp
import re
import zipfile
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner, find_latest_checkpoint

from mmrobust.engine.atomic_backend import AtomicLocalBackend
from mmrobust.registry import HOOKS

__all__ = ['CheckpointHook']


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's hook, which writes in place and removes the old checkpoint first, made safe.

    Every file is written completely under another name and then renamed, and what it makes superfluous is removed
    after that. So at every moment there is a checkpoint that ``--resume`` finds and can read. If something else has
    damaged it, resuming takes the one before.

    Args:
        backend_args: File backend; None is ``dict(backend='mmrobust_atomic')``, or MMEngine's choice where ``out_dir``
            is an address such as ``s3://...``.
        **kwargs: As in MMEngine's hook.
    """

    def __init__(self, *args: Any, backend_args: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, backend_args=backend_args, **kwargs)
        if backend_args is None and self.file_client_args is None and '://' not in str(self.out_dir):
            self.backend_args = {'backend': 'mmrobust_atomic'}

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
            self._name_last_checkpoint(runner, self.last_ckpt)
            for old in outdated:
                self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)))

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
