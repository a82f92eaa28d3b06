"""NaN stops the run and never gets into a checkpoint."""

import multiprocessing
import os

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import find_latest_checkpoint
from tiny_run import Net, make_runner

from mmrobust.checkpoint import load_checkpoint_file
from mmrobust.engine import StopOnNonFiniteLossHook


def test_nan_loss_stops_before_saving_and_names_everything(tmp_path):
    # iteration 8 is where the next checkpoint would be written and the good one removed
    with pytest.raises(FloatingPointError, match=r'^Iteration 8 has a loss .*loss_fit=nan, loss_zero=') as info:
        make_runner(tmp_path, model=Net(nan_from=8)).train()
    assert f'the last good checkpoint is {tmp_path}/iter_4.pth' in str(info.value)
    weights = load_checkpoint_file(find_latest_checkpoint(str(tmp_path)))['state_dict']
    assert all(value.isfinite().all() for value in weights.values())


def test_nan_before_the_first_checkpoint(tmp_path):
    with pytest.raises(FloatingPointError, match=r'^Iteration 1 .* there is no checkpoint yet'):
        make_runner(tmp_path, model=Net(nan_from=1)).train()


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_checkpoint_with_broken_parameters_is_not_written(tmp_path, value):
    class Break(Hook):
        """What an infinite gradient does to the weights, while the loss before was finite."""

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 7:
                runner.model.body[0].bias.data[0] = value

    with pytest.raises(FloatingPointError, match=r'1 of 4 weights are not finite at iteration 8 \(first body.0.bias\)'):
        make_runner(tmp_path, Break()).train()
    assert [path.name for path in tmp_path.glob('*.pth*')] == ['iter_4.pth']


def test_buffers_may_hold_minus_infinity_but_not_nan(tmp_path):
    model = Net()
    model.register_buffer('mask', torch.tensor([0.0, -torch.inf]))
    make_runner(tmp_path, model=model, iters=1).train()
    model.mask[0] = torch.nan
    with pytest.raises(FloatingPointError, match='first mask'):
        make_runner(tmp_path, model=model, iters=1).train()


def test_losses_are_copied_to_the_cpu_before_others_read_them(tmp_path):
    seen = []

    class Read(Hook):
        priority = 'VERY_HIGH'  # as MMEngine's RuntimeInfoHook, after which it is registered

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append(outputs)

    runner = make_runner(tmp_path, Read(), iters=1)
    names = [type(hook).__name__ for hook in runner.hooks]
    assert names.index('StopOnNonFiniteLossHook') < names.index('RuntimeInfoHook')
    runner.train()
    (outputs,) = seen
    assert outputs.keys() == {'loss', 'loss_fit', 'loss_zero'}
    assert all(value.device.type == 'cpu' and not value.requires_grad for value in outputs.values())


def test_what_a_model_may_log():
    outputs = {'loss': torch.tensor(1.5, requires_grad=True) * 2, 'acc': torch.tensor([50.0]), 'half': 0.1}
    StopOnNonFiniteLossHook().after_train_iter(FakeRunner(0), 0, outputs=outputs)
    assert {name: float(value) for name, value in outputs.items()} == {'loss': 3.0, 'acc': 50.0, 'half': 0.1}
    StopOnNonFiniteLossHook().after_train_iter(FakeRunner(0), 0, outputs=None)


class FakeRunner:
    iter, work_dir = 4, 'nowhere'

    def __init__(self, rank: int) -> None:
        self.rank = rank


def _one_of_two_ranks(rank: int, file: str, queue) -> None:
    torch.distributed.init_process_group('gloo', init_method=f'file://{file}', rank=rank, world_size=2)
    loss = torch.tensor(float('nan') if rank == 1 else 1.0)
    try:
        StopOnNonFiniteLossHook().after_train_iter(FakeRunner(rank), 0, outputs={'loss': loss})
        queue.put((rank, 'went on'))
    except FloatingPointError as error:
        queue.put((rank, str(error)))


def test_every_rank_stops(tmp_path):
    context = multiprocessing.get_context('fork' if os.name == 'posix' else 'spawn')
    queue = context.Queue()
    ranks = [context.Process(target=_one_of_two_ranks, args=(rank, str(tmp_path / 'x'), queue)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    messages = dict(queue.get(timeout=60) for _ in ranks)
    for process in ranks:
        process.join(timeout=60)
    assert 'loss=1 on rank 0' in messages[0] and 'loss=nan on rank 1' in messages[1]
