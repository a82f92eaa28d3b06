"""Checkpoints that survive a full disk, Ctrl-C and SIGKILL."""

import os
import os.path as osp
import re
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner, find_latest_checkpoint
from torch.utils.data import DataLoader

from mmrobust.checkpoint import is_whole
from mmrobust.engine.resumed_run import check_resumed, gradients_are_used, refuse_idle_schedule, steps_of
from mmrobust.files import AtomicLocalBackend
from mmrobust.registry import HOOKS

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
        self._is_late = False  # a checkpoint that was due in the middle of an optimizer step waits for its end

    def before_run(self, runner: Runner) -> None:
        """Before MMEngine resumes: see that ``last_checkpoint`` names a file that is whole, or take the newest that is.

        Raises:
            ValueError: There are checkpoints, and none of them is whole.
        """
        if not runner._resume or runner._load_from is not None:
            return
        chosen = named = find_latest_checkpoint(runner.work_dir)
        if named is None or not ('://' in named or is_whole(named)):
            others = saved_checkpoints(runner.work_dir, self.out_dir, self.filename_tmpl)
            if named and osp.dirname(named) != runner.work_dir:
                others += saved_checkpoints(osp.dirname(named), None, self.filename_tmpl)
            chosen = next(filter(is_whole, others), None)
            problem = f'The checkpoint {named} is damaged or gone' if named else 'There is no last_checkpoint'
            if chosen is None and (named is not None or others):
                raise ValueError(
                    f'{problem}, and no checkpoint in {runner.work_dir} is whole: there is none to resume.'
                )
        barrier()  # no rank may find it repaired and not come here
        if chosen != named and is_main_process():
            runner.logger.warning(f'{problem}: resuming from {chosen} instead.')
            self._name_last_checkpoint(runner, chosen)
        barrier()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner._resume:
            check_resumed(runner, checkpoint)
            self._skipped = checkpoint['meta'].get('batches', 0)

    def before_train(self, runner: Runner) -> None:
        """Continue in the middle of an epoch, and validate if this was due when the checkpoint was written.

        Raises:
            ValueError: Checkpoints lie in the middle of an epoch, and the sampler cannot start there; an epoch or a
                validation never ends; no checkpoint would be written before the end; the schedule ends at 0 before the
                run does.
        """
        refuse_idle_schedule(runner)
        if self.by_epoch and not _by_epoch(runner):
            raise ValueError(
                'default_hooks.checkpoint must have by_epoch=False in a loop over iterations, got by_epoch=True: no '
                'checkpoint would be written before the end.'
            )
        if _by_epoch(runner):
            _refuse_endless(runner.train_loop, 'train_dataloader', 'mmrobust.SeededEpochSampler')
        if runner.val_loop is not None:
            _refuse_endless(runner.val_loop, 'val_dataloader', 'DefaultSampler')
        self._require_sampler_that_skips(runner)
        super().before_train(runner)
        if '://' not in self.out_dir:
            os.makedirs(self.out_dir, exist_ok=True)  # where this fails, so would the first checkpoint
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

    def before_test(self, runner: Runner) -> None:
        _refuse_endless(runner.test_loop, 'test_dataloader', 'DefaultSampler')

    def before_train_epoch(self, runner: Runner) -> None:
        self._epoch_start = runner.iter - self._skipped
        self._skipped = 0

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        super().after_train_iter(runner, *args, **kwargs)
        if _by_epoch(runner) and self.batches_of_epoch(runner) > len(runner.train_dataloader):
            raise ValueError(_endless(runner.train_dataloader, 'train_dataloader', 'mmrobust.SeededEpochSampler'))
        if self._is_late and gradients_are_used(runner):
            self._save_checkpoint(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        runner.message_hub.update_info('validated', _step(runner))
        super().after_val_epoch(runner, metrics)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Leave out what MMEngine saves of ``OneCycleLR``, a function, which no checkpoint may hold."""
        states = checkpoint.get('param_schedulers')
        for state in states if isinstance(states, list) else ():
            for name in [name for name, value in state.items() if callable(value)]:
                del state[name]

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
        if batches and not _can_skip(runner):
            return False
        if self.saved != (epoch, iter):
            self._write(runner, STOPPED, {'epoch': epoch, 'iter': iter, 'batches': batches})
        return True

    def _require_sampler_that_skips(self, runner: Runner) -> None:
        if not _by_epoch(runner) or _can_skip(runner):
            return
        counts, length = steps_of(runner)['accumulative_counts'], len(runner.train_dataloader)
        if self._skipped or not self.by_epoch or length % counts:
            reason = (
                f'{length} batches are no multiple of accumulative_counts={counts}'
                if length % counts
                else (
                    'the checkpoint is in the middle of one' if self._skipped else 'CheckpointHook has by_epoch=False'
                )
            )
            raise ValueError(
                'train_dataloader.sampler must be mmrobust.SeededEpochSampler, or another one that can start in the '
                f'middle of an epoch, got {type(runner.train_dataloader.sampler).__name__}: {reason}.'
            )

    def _save_checkpoint(self, runner: Runner) -> None:
        """Save after an iteration, at the end of an epoch or within one."""
        at_end = self.by_epoch and not self._is_late
        meta = (
            {'epoch': runner.epoch + 1, 'iter': runner.iter}
            if at_end
            else {'epoch': runner.epoch, 'iter': runner.iter + 1}
        )
        if _by_epoch(runner) and not at_end:
            meta['batches'] = self.batches_of_epoch(runner)
        self._save_checkpoint_with_step(runner, meta['epoch' if self.by_epoch else 'iter'], meta)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save, then name the checkpoint as the last one, then remove those that are too many.

        In the middle of an optimizer step nothing is saved: the gradients are not in a checkpoint. It follows with the
        iteration that uses them.
        """
        self._is_late = not gradients_are_used(runner)
        if self._is_late:
            runner.logger.info('The checkpoint is saved when the optimizer step of accumulative_counts is at its end.')
            return
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
        meta['steps'] = steps_of(runner)
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


def saved_checkpoints(work_dir: str, out_dir: str | None = None, filename_tmpl: str | None = None) -> list[str]:
    """What runs have saved to be resumed, newest first: ``stopped.pth``, then by epoch or iteration.

    Args:
        work_dir: Of the runs.
        out_dir, filename_tmpl: Of their hook, where they are not MMEngine's own.
    """
    folder = osp.join(out_dir, osp.basename(work_dir.rstrip(osp.sep))) if out_dir else work_dir
    template = re.escape(filename_tmpl).replace(r'\{\}', r'(\d+)') if filename_tmpl else r'(?:epoch|iter)_(\d+)\.pth'
    names = os.listdir(folder) if osp.isdir(folder) else []
    steps = {name: int(match[1]) for name in names if (match := re.fullmatch(template, name))}
    newest_first = sorted(steps, key=steps.get, reverse=True)
    return [osp.join(folder, name) for name in [STOPPED] * (STOPPED in names) + newest_first]


def _refuse_endless(loop: BaseLoop, name: str, instead: str) -> None:
    loader = loop.dataloader
    if any(isinstance(part, InfiniteSampler) for part in (loader.sampler, getattr(loader.batch_sampler, 'sampler', 0))):
        raise ValueError(_endless(loader, name, instead))


def _endless(loader: DataLoader, name: str, instead: str) -> str:
    return (
        f'{name}.sampler must come to an end, as {instead} does, got {type(loader.sampler).__name__}, with which a '
        'loop over epochs never ends one.'
    )


def _can_skip(runner: Runner) -> bool:
    loader = runner.train_dataloader
    return hasattr(loader.sampler, 'skip_in_next_epoch') and bool(loader.batch_size)


def _by_epoch(runner: Runner) -> bool:
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


def _step(runner: Runner) -> int:
    """Epochs or iterations trained so far, whichever validations are counted in."""
    return runner.epoch if _by_epoch(runner) else runner.iter
