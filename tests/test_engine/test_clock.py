"""A clock that jumps changes no result, and breaks nothing."""

import re
import time

import pytest
from mmengine.runner import find_latest_checkpoint
from tiny_run import Record, make_runner

DAY = 86400


@pytest.mark.parametrize('jump', [-DAY, DAY], ids=['back', 'on'])
def test_jump_while_the_run_lasts_and_before_it_is_resumed(tmp_path, monkeypatch, jump):
    real, shift = time.time, [0]
    monkeypatch.setattr(time, 'time', lambda: real() + shift[0])

    class Jump(Record):
        """Logs come from the hooks that the runner has by default."""

        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            shift[0] += jump * (runner.iter == 2)

    logging = {
        'log_processor': {'by_epoch': False},
        'log_level': 'INFO',
        'logger': {'type': 'LoggerHook', 'interval': 1},
    }
    whole, first, second = Record(), Jump(), Record()
    make_runner(tmp_path / 'whole', whole).train()
    make_runner(tmp_path / 'part', first, iters=6, **logging).train()
    shift[0] = -2 * DAY
    runner = make_runner(tmp_path / 'part', second, resume=True, **logging)
    assert find_latest_checkpoint(str(tmp_path / 'part')).endswith('iter_6.pth')
    runner.train()
    assert first.losses | second.losses == whole.losses
    files = sorted((tmp_path / 'part').glob('*/*.log'), reverse=True)  # the later run has the earlier name
    logs = ''.join(path.read_text() for path in files)
    assert [int(step) for step in re.findall(r'Iter\(train\) \[ ?(\d+)/', logs)] == list(range(1, 11))
