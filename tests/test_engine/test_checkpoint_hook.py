"""At every moment there is a checkpoint that resuming finds and can read."""

import errno
import os
from pathlib import Path

import pytest
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import find_latest_checkpoint
from tiny_run import Record, make_runner, validation

from mmrobust.checkpoint import load_checkpoint_file
from mmrobust.engine import AtomicLocalBackend, CheckpointHook
from mmrobust.engine.checkpoint_hook import saved_checkpoints


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file() and '.pth' in path.name)


def fail_third_write(monkeypatch, error: BaseException) -> None:
    """Let the content of checkpoint 4 and of last_checkpoint through, and not that of checkpoint 8."""
    real_fsync, calls = os.fsync, []

    def fsync(file: int) -> None:
        calls.append(file)
        if len(calls) == 3:
            raise error
        real_fsync(file)

    monkeypatch.setattr(os, 'fsync', fsync)


@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt()])
def test_failed_saving_leaves_the_checkpoint_before(tmp_path, monkeypatch, error):
    fail_third_write(monkeypatch, error)
    with pytest.raises(type(error)) as info:
        make_runner(tmp_path).train()
    if isinstance(error, OSError):
        assert 'No space left on device, nothing was changed' in str(info.value) and 'iter_8.pth' in str(info.value)
    assert checkpoints(tmp_path) == ['iter_4.pth']
    latest = find_latest_checkpoint(str(tmp_path))
    assert load_checkpoint_file(latest)['meta']['iter'] == 4


def test_old_checkpoints_are_removed_after_the_new_one_is_there(tmp_path):
    seen = []

    class Watch(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            seen.append(checkpoints(tmp_path))

    make_runner(tmp_path, Watch()).train()
    assert seen == [[], ['iter_4.pth'], ['iter_8.pth']]
    assert checkpoints(tmp_path) == ['iter_10.pth']


def test_number_of_kept_checkpoints_survives_a_resume(tmp_path):
    keep_two = {'max_keep_ckpts': 2}
    make_runner(tmp_path, iters=8, checkpoint=keep_two).train()
    make_runner(tmp_path, iters=16, checkpoint=keep_two, resume=True).train()
    assert checkpoints(tmp_path) == ['iter_12.pth', 'iter_16.pth']


class ScriptedScores(BaseMetric):
    """0.5, 0.4, 0.6 for one validation after the other, and a second metric that never improves."""

    scores = (0.5, 0.4, 0.6)

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict:
        self.done = getattr(self, 'done', 0) + 1
        return {'score': self.scores[self.done - 1], 'other': 1.0}


@pytest.mark.parametrize('save_best', ['score', ['score', 'other'], 'auto'])
def test_best_checkpoint_is_replaced_after_the_new_one_is_there(tmp_path, save_best):
    seen = []

    class Watch(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            if 'optimizer' not in checkpoint:
                seen.append([name for name in checkpoints(tmp_path) if 'best' in name])

    make_runner(
        tmp_path,
        Watch(),
        checkpoint={'save_best': save_best, 'rule': 'greater'},
        train_cfg={'by_epoch': False, 'max_iters': 6, 'val_interval': 2},
        **validation(ScriptedScores()),
    ).train()
    other = ['best_other_iter_2.pth'] if 'other' in save_best else []
    assert seen[-1] == [*other, 'best_score_iter_2.pth']
    assert checkpoints(tmp_path) == [*other, 'best_score_iter_6.pth', 'iter_6.pth']
    assert load_checkpoint_file(tmp_path / 'iter_6.pth')['message_hub']['runtime_info'][
        'best_ckpt_score' if other else 'best_ckpt'
    ].endswith('best_score_iter_6.pth')


@pytest.mark.parametrize('by_epoch', [False, True])
def test_a_validation_that_was_killed_is_done_after_a_resume(tmp_path, by_epoch):
    """And one that was finished is not: it is known from the next checkpoint, and at once if it was the best."""
    done = []

    class Die(Hook):
        def after_val_iter(self, runner, *args, **kwargs) -> None:
            if runner.iter == die:
                raise KeyboardInterrupt

        def after_val_epoch(self, runner, metrics=None) -> None:
            done.append(runner.iter)

    def train(**kwargs) -> None:
        length = {'max_epochs': 3, 'val_interval': 1} if by_epoch else {'max_iters': 12, 'val_interval': 4}
        make_runner(
            tmp_path,
            Die(),
            checkpoint={
                'by_epoch': by_epoch,
                'interval': 1 if by_epoch else 4,
                'save_best': 'score',
                'rule': 'greater',
                'max_keep_ckpts': -1,
            },
            sampler='Epoch' if by_epoch else 'Infinite',
            train_cfg={'by_epoch': by_epoch, **length},
            **validation(ScriptedScores()),
            **kwargs,
        ).train()

    def name(step: int) -> str:
        return f'epoch_{step}.pth' if by_epoch else f'iter_{4 * step}.pth'

    die = 4
    with pytest.raises(KeyboardInterrupt):
        train()
    die = 8
    with pytest.raises(KeyboardInterrupt):
        train(resume=True)
    assert done == [4] and checkpoints(tmp_path)[-1] == name(2)
    assert load_checkpoint_file(tmp_path / name(1))['message_hub']['runtime_info']['best_score'] == 0.5
    die = None
    train(resume=True)
    assert done == [4, 8, 12]
    train(resume=True)  # the last one was not better than the one before
    assert done == [4, 8, 12, 12]
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / name(1)))  # whose validation was the best, and is in it
    train(resume=True)
    assert done == [4, 8, 12, 12, 8, 12]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def punch_hole(path: Path) -> None:
    """What a disk does: all is there but 4 kB in the middle, the weights, which torch.load reads as they are."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = bytes(4096)
    path.write_bytes(content)


def resumed_iterations(tmp_path: Path, **kwargs) -> list[int]:
    record = Record()
    make_runner(tmp_path, record, iters=8, resume=True, **kwargs).train()
    return list(record.losses)


@pytest.mark.parametrize('damage', [truncate, punch_hole, Path.unlink])
def test_resume_takes_the_checkpoint_before_a_damaged_one(tmp_path, damage):
    make_runner(tmp_path, iters=8, checkpoint={'max_keep_ckpts': 2}).train()
    damage(tmp_path / 'iter_8.pth')
    assert resumed_iterations(tmp_path) == [4, 5, 6, 7]
    text = '\n'.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert f'iter_8.pth is damaged or gone: resuming from {tmp_path}/iter_4.pth' in text


def test_resume_without_last_checkpoint_takes_the_newest_whole_one(tmp_path):
    make_runner(tmp_path, iters=8, checkpoint={'interval': 2, 'max_keep_ckpts': 4}).train()
    (tmp_path / 'last_checkpoint').unlink()
    punch_hole(tmp_path / 'iter_8.pth')
    (tmp_path / 'best_score_iter_8.pth').write_bytes((tmp_path / 'iter_2.pth').read_bytes())
    assert resumed_iterations(tmp_path) == [6, 7]
    text = '\n'.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert f'There is no last_checkpoint: resuming from {tmp_path}/iter_6.pth' in text


def test_what_is_there_to_be_resumed(tmp_path):
    for name in ('iter_4.pth', 'iter_12.pth', 'epoch_2.pth', 'best_mIoU_iter_12.pth', 'model_3.pth', 'weights.pth'):
        (tmp_path / name).touch()
    names = [os.path.basename(path) for path in saved_checkpoints(str(tmp_path))]
    assert names == ['iter_12.pth', 'iter_4.pth', 'epoch_2.pth']
    assert saved_checkpoints(str(tmp_path), filename_tmpl='model_{}.pth') == [str(tmp_path / 'model_3.pth')]
    assert saved_checkpoints(f'/x/{tmp_path.name}/', out_dir=str(tmp_path.parent))[0] == str(tmp_path / 'iter_12.pth')
    (tmp_path / 'stopped.pth').touch()
    assert saved_checkpoints(str(tmp_path))[0] == str(tmp_path / 'stopped.pth')
    assert saved_checkpoints('s3://bucket') == saved_checkpoints(str(tmp_path / 'none')) == []


@pytest.mark.parametrize('damage', [truncate, punch_hole])
@pytest.mark.parametrize('named', [True, False])
def test_resume_with_nothing_but_a_damaged_checkpoint(tmp_path, damage, named):
    make_runner(tmp_path, iters=4).train()
    damage(tmp_path / 'iter_4.pth')
    if not named:
        (tmp_path / 'last_checkpoint').unlink()
    with pytest.raises(ValueError, match=r'is whole: there is none to resume'):
        make_runner(tmp_path, resume=True).train()


@pytest.mark.parametrize('by_epoch', [False, True])
def test_a_checkpoint_due_within_an_optimizer_step_is_saved_at_its_end(tmp_path, monkeypatch, by_epoch):
    """After 3 iterations, or after an epoch of 4, a step of 5 or 3 iterations is not at its end."""
    whole, first, second = Record(), Record(), Record()
    counts, last = (3, 5) if by_epoch else (5, 9)
    length = {'max_epochs': 3, 'val_interval': 1} if by_epoch else {'max_iters': 12, 'val_interval': 3}

    class Die(Hook):
        def before_train_iter(self, runner, **kwargs) -> None:
            if runner.iter == last + 1:
                raise KeyboardInterrupt

    def train(folder: str, *hooks, **kwargs) -> None:
        make_runner(
            tmp_path / folder,
            *hooks,
            accumulative_counts=counts,
            sampler='Epoch' if by_epoch else 'Infinite',
            checkpoint={
                'by_epoch': by_epoch,
                'interval': 1 if by_epoch else 3,
                'save_best': 'score',
                'rule': 'greater',
            },
            train_cfg={'by_epoch': by_epoch, **length},
            **validation(ScriptedScores()),
            **kwargs,
        ).train()

    monkeypatch.setattr(ScriptedScores, 'scores', (0.5, 0.4, 0.6, 0.7))
    train('whole', whole)
    with pytest.raises(KeyboardInterrupt):
        train('part', first, Die())
    assert Path(find_latest_checkpoint(str(tmp_path / 'part'))).name == ('epoch_1.pth' if by_epoch else 'iter_10.pth')
    train('part', second, resume=True)
    assert list(second.losses) == list(range(last + 1, 12))
    assert first.losses | second.losses == whole.losses
    final = [load_checkpoint_file(find_latest_checkpoint(str(tmp_path / name))) for name in ('whole', 'part')]
    assert all(final[0]['state_dict'][key].equal(value) for key, value in final[1]['state_dict'].items())


def test_checkpoints_within_an_epoch_of_a_loop_over_epochs(tmp_path):
    whole, second = Record(), Record()
    saving = {'by_epoch': False, 'interval': 3}
    epochs = {'sampler': 'Epoch', 'checkpoint': saving, 'train_cfg': {'by_epoch': True, 'max_epochs': 3}}
    make_runner(tmp_path, whole, **epochs | {'checkpoint': saving | {'max_keep_ckpts': -1}}).train()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_6.pth'))
    make_runner(tmp_path, second, resume=True, **epochs).train()
    assert second.losses == {step: loss for step, loss in whole.losses.items() if step >= 6}


@pytest.mark.parametrize(
    ('by_epoch', 'counts', 'reason'), [(False, 1, 'by_epoch=False'), (True, 3, '4 batches are no')]
)
def test_checkpoints_within_an_epoch_need_a_sampler_that_can_start_there(tmp_path, by_epoch, counts, reason):
    runner = make_runner(
        tmp_path,
        checkpoint={'by_epoch': by_epoch, 'interval': 1},
        accumulative_counts=counts,
        train_cfg={'by_epoch': True, 'max_epochs': 1},
    )
    runner._train_dataloader['sampler'] = {'type': 'DefaultSampler'}
    with pytest.raises(ValueError, match=f'must be mmrobust.SeededEpochSampler.*got DefaultSampler: .*{reason}'):
        runner.train()


ENDLESS = r"""sampler must come to an end, as {} does, got {}, with which a loop over epochs never ends one"""


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'mmrobust.SeededInfiniteSampler'])
def test_epochs_that_would_never_end(tmp_path, sampler):
    runner = make_runner(tmp_path, train_cfg={'by_epoch': True, 'max_epochs': 2})
    runner._train_dataloader['sampler'] = {'type': sampler}
    message = ENDLESS.format('mmrobust.SeededEpochSampler', sampler.removeprefix('mmrobust.'))
    with pytest.raises(ValueError, match='train_dataloader.' + message):
        runner.train()


def test_a_run_without_a_checkpoint_before_its_end(tmp_path):
    with pytest.raises(ValueError, match='must have by_epoch=False in a loop over iterations'):
        make_runner(tmp_path, checkpoint={'by_epoch': True}).train()


class Forever(DefaultSampler):
    """A sampler of one's own."""

    def __iter__(self):
        while True:
            yield from super().__iter__()


def test_an_epoch_that_does_not_end(tmp_path):
    record = Record()
    runner = make_runner(
        tmp_path, record, checkpoint={'by_epoch': True, 'interval': 1}, train_cfg={'by_epoch': True, 'max_epochs': 2}
    )
    runner._train_dataloader['sampler'] = {'type': Forever}
    with pytest.raises(ValueError, match=r'must come to an end, .* got Forever, with'):
        runner.train()
    assert len(record.losses) == 4 + 1


@pytest.mark.parametrize('part', ['val', 'test'])
def test_a_validation_or_test_that_would_never_end(tmp_path, part):
    arguments = validation(ScriptedScores())
    arguments['val_dataloader']['sampler'] = {'type': 'InfiniteSampler'}
    if part == 'test':
        arguments = {name.replace('val_', 'test_'): value for name, value in arguments.items()}
    runner = make_runner(tmp_path, **arguments)
    with pytest.raises(ValueError, match=f'{part}_dataloader.' + ENDLESS.format('DefaultSampler', 'InfiniteSampler')):
        runner.train() if part == 'val' else runner.test()


def test_the_user_chooses_the_backend(tmp_path):
    assert CheckpointHook().backend_args == {'backend': 'mmrobust_atomic'}
    assert CheckpointHook(backend_args={'backend': 'local'}).backend_args == {'backend': 'local'}
    assert CheckpointHook(out_dir='s3://bucket').backend_args is None


def test_backend_writes_bytes_and_text(tmp_path):
    target = tmp_path / 'new' / 'file'
    AtomicLocalBackend().put(b'one', target)
    AtomicLocalBackend().put_text('zwölf', str(target))
    assert target.read_text(encoding='utf-8') == 'zwölf'
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt()])
def test_backend_keeps_the_old_content_until_the_new_one_is_complete(tmp_path, monkeypatch, error):
    def fsync(file: int) -> None:
        raise error

    target = tmp_path / 'file'
    AtomicLocalBackend().put(b'old', target)
    monkeypatch.setattr(os, 'fsync', fsync)
    with pytest.raises(type(error)):
        AtomicLocalBackend().put(b'new', target)
    assert target.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_of_checkpoints_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='file'):
        make_runner(tmp_path / 'run', checkpoint={'out_dir': str(tmp_path / 'file/x')}).train()
    assert not list(tmp_path.rglob('*.pth'))
