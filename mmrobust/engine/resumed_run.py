"""Compares a config with the checkpoint that is resumed: optimizer, schedules, averaged weights, steps."""

import warnings

from mmengine.dist import get_world_size
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

# of a schedule: what moves while it goes on, and what the optimizer says already
MOVING = ('last_step', 'verbose', 'base_values', 'best', 'cooldown_counter', 'num_bad_epochs')
FORMS = ('fused', 'foreach')  # of the same update: each machine takes its own
MOST = 8  # differences in a message


def steps_of(runner: Runner) -> dict[str, int]:
    """What an iteration is: a checkpoint counts in iterations."""
    return {
        'images per iteration': (runner.train_dataloader.batch_size or 0) * get_world_size(),
        'accumulative_counts': getattr(runner.optim_wrapper, '_accumulative_counts', 1),
    }


def gradients_are_used(runner: Runner) -> bool:
    """Whether an optimizer step ended with the last iteration: with ``accumulative_counts`` not every one has it."""
    return not isinstance(runner.optim_wrapper, OptimWrapper) or runner.optim_wrapper.should_update()


def check_resumed(runner: Runner, checkpoint: dict) -> None:
    """Compare optimizer and schedules of the config with those in a checkpoint, before MMEngine takes the latter.

    Where they differ the config wins, and a warning names what is other: settings of the optimizer in ``checkpoint``
    are replaced, and the schedules of the config are brought to its iteration.

    Raises:
        ValueError: The checkpoint holds weights alone, averaged weights of an ``EMAHook`` that the config has not,
            another kind of optimizer, or the middle of an optimizer step; a schedule that depends on metrics is other.
    """
    wanted = ['message_hub', 'optimizer', *(['param_schedulers'] if runner.param_schedulers else [])]
    missing = [key for key in wanted if key not in checkpoint]
    if missing:
        raise ValueError(
            f'A checkpoint to resume must hold {", ".join(wanted)}, got one without {", ".join(missing)}: load_from, '
            'without resume, starts a new run with its weights.'
        )
    averages = any(isinstance(hook, EMAHook) for hook in runner.hooks)
    if 'ema_state_dict' in checkpoint and not averages:
        raise ValueError(
            'The config must have an EMAHook, as the run of the checkpoint had: its weights are averaged ones; '
            'load_from, without resume, starts a new run with them.'
        )
    now, meta = steps_of(runner), checkpoint['meta']
    differences = _differences(meta.get('steps', {}), now)
    if averages and 'ema_state_dict' not in checkpoint:
        differences.append('EMAHook is new, and begins with the weights of the checkpoint')
    moved = _count_in_own_epochs(runner, meta)
    step = meta['iter']
    if step % now['accumulative_counts'] and step < runner.max_iters:
        raise ValueError(
            f'accumulative_counts must divide the iteration of the checkpoint, {step}, got '
            f'{now["accumulative_counts"]}: the gradients of a step that is not at its end are not saved.'
        )
    if isinstance(runner.optim_wrapper, OptimWrapper):
        differences += _take_settings_of_config(runner, checkpoint, moved)
    if differences:
        more = f' and {len(differences) - MOST} more' if len(differences) > MOST else ''
        runner.logger.warning(
            f'The config is not that of the checkpoint, and wins: {"; ".join(differences[:MOST])}{more}.'
        )


def _count_in_own_epochs(runner: Runner, meta: dict) -> list[str]:
    """Where epochs have another number of iterations now, let the iteration be that of as many epochs; say so."""
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        return []
    own = len(runner.train_dataloader)
    length = _length_of_epochs(meta) if meta['epoch'] else own
    images = steps_of(runner)['images per iteration']
    before = meta.get('steps', {}).get('images per iteration', images)
    if meta.get('batches') and (length, before) != (own, images):
        raise ValueError(
            f'An epoch must have {length} iterations of {before} images, as in the checkpoint, which lies within one, '
            f'got {own} of {images}.'
        )
    if length == own:
        return []
    meta['iter'] = meta['epoch'] * own
    return [f'iterations per epoch={own} (was {length})']


def _length_of_epochs(meta: dict) -> int:
    return (meta['iter'] - meta.get('batches', 0)) // meta['epoch'] if meta['epoch'] else meta['iter'] + 1


def _take_settings_of_config(runner: Runner, checkpoint: dict, differences: list[str]) -> list[str]:
    """Write the optimizer's settings and the schedules of the config into a checkpoint; return what differed."""
    schedules, saved = runner.param_schedulers or [], checkpoint.get('param_schedulers', [])
    differences += [] if len(schedules) == len(saved) else [f'{len(schedules)} param_scheduler (was {len(saved)})']
    for place, (old, new) in enumerate(zip(saved, (schedule.state_dict() for schedule in schedules), strict=False)):
        old, new = (
            {key: value for key, value in state.items() if key not in MOVING and key[0] != '_' and not callable(value)}
            for state in (old, new)
        )
        if old.keys() != new.keys():
            differences.append(f'param_scheduler[{place}] is another kind')
        differences += _differences(old, new, f'param_scheduler[{place}].')

    groups = checkpoint['optimizer']['param_groups'], runner.optim_wrapper.state_dict()['param_groups']
    if [len(group['params']) for group in groups[0]] != [len(group['params']) for group in groups[1]]:
        return differences  # loading the optimizer refuses it
    unseen = {'params', *FORMS, *(schedule.param_name for schedule in schedules)}
    for place, (old, new) in enumerate(zip(*groups, strict=True)):
        old, new = ({key: value for key, value in group.items() if key not in unseen} for group in (old, new))
        if other := [key for key in old.keys() ^ new.keys() if not key.startswith('initial_') and key not in unseen]:
            kind = type(runner.optim_wrapper.optimizer).__name__
            raise ValueError(
                f'The optimizer must be of the kind in the checkpoint, got {kind}: only one of the two has '
                f'{", ".join(sorted(other))}.'
            )
        differences += _differences(old, new, f'optimizer group {place} ')

    if differences:
        _bring_to(runner, checkpoint['meta'])
        own = runner.optim_wrapper.state_dict()
        checkpoint['param_schedulers'] = [schedule.state_dict() for schedule in schedules]
        checkpoint['optimizer'] |= {key: own[key] for key in ('param_groups', 'base_param_settings') if key in own}
    return differences


def _bring_to(runner: Runner, meta: dict) -> None:
    """Step schedules that have just been built as the runs before have done it."""
    schedules = runner.param_schedulers or []
    if any(getattr(schedule, 'need_val_args', False) for schedule in schedules):
        raise ValueError('A schedule that depends on metrics must be as in the checkpoint, and so must the optimizer.')
    length = _length_of_epochs(meta)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # no optimizer step has been before
        for step in range(1, meta['iter'] + 1):
            for schedule in schedules:
                if not schedule.by_epoch or step % length == 0:
                    schedule.step()


def refuse_idle_schedule(runner: Runner) -> None:
    """See that the learning rate does not fall to 0 before the end of the run.

    Raises:
        ValueError: It does.
    """
    schedules = [schedule for schedule in runner.param_schedulers or [] if getattr(schedule, 'param_name', '') == 'lr']
    if not schedules:
        return
    last = max(schedules, key=lambda schedule: schedule.end)
    limit = runner.max_epochs if last.by_epoch else runner.max_iters
    lowest = getattr(last, 'eta_min', None), getattr(last, 'end_factor', None)
    if last.end < limit and 0 in lowest and getattr(last, 'T_max', 0) <= last.end - last.begin:
        length = 'max_epochs' if last.by_epoch else 'max_iters'
        raise ValueError(
            f'The schedule must not end at a learning rate of 0 before the run does, got `end={last.end}` of the last '
            f'param_scheduler and {length}={limit}: raise `end` too.'
        )


def _differences(old: dict, new: dict, prefix: str = '') -> list[str]:
    return [f'{prefix}{key}={new[key]} (was {old[key]})' for key in old if key in new and old[key] != new[key]]
