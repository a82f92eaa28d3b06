"""What a broken machine does to a run: one of its processes is gone, or answers no more."""

import os
import signal
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class DieOnce(Hook):
    """Send this process a signal before iteration ``at``, on rank 1, unless the file ``marker`` says it is done."""

    def __init__(self, at: int, marker: str, name: str = 'SIGKILL') -> None:
        self.at, self.marker, self.signal = at, Path(marker), signal.Signals[name]

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if get_rank() == 1 and runner.iter + 1 == self.at and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), self.signal)
