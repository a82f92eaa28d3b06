"""Stops training at the first NaN or infinite loss and keeps the last good checkpoint."""

import math
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint

from mmrobust.engine.any_device import trained_model
from mmrobust.registry import HOOKS


@HOOKS.register_module()
class StopOnNonFiniteLossHook(Hook):
    """Stop all ranks when a loss of any of them is NaN or infinite, before anything is logged or saved.

    The losses are copied from the GPU at once, and left in ``outputs`` on the CPU: hooks that come later, of which
    MMEngine's reads them one by one, need not wait for the GPU again.

    Raises:
        FloatingPointError: A loss term is not finite, or a checkpoint with parameters that are not was to be written.
    """

    priority = 'HIGHEST'  # MMEngine's hook that passes the losses on to the log is VERY_HIGH

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        outputs = {} if outputs is None else outputs
        _copy_to_cpu(outputs)
        terms = {name: torch.as_tensor(value).item() for name, value in outputs.items()}
        broken = torch.tensor(int(not all(map(math.isfinite, terms.values()))))
        all_reduce(broken, op='max')  # one rank alone would leave the others waiting for its gradients
        if broken:
            listed = ', '.join(f'{name}={value:.6g}' for name, value in terms.items())
            raise FloatingPointError(
                f'Iteration {runner.iter + 1} has a loss that is not finite ({listed} on rank {runner.rank}): '
                f'training stops, {_last_good(runner)}.'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse weights that are not finite, which a resumed run would keep: gradients of a finite loss may be."""
        model = trained_model(runner)
        parameters = dict(model.named_parameters())  # a buffer may hold -inf, such as a mask
        broken = [
            name
            for name, value in checkpoint['state_dict'].items()
            if torch.is_tensor(value) and (value.isnan() | (value.isinf() & (name in parameters))).any()
        ]
        if broken:
            raise FloatingPointError(
                f'{len(broken)} of {len(checkpoint["state_dict"])} weights are not finite at iteration '
                f'{runner.iter + 1} (first {broken[0]}): no checkpoint is written, training stops, '
                f'{_last_good(runner)}.'
            )


def _copy_to_cpu(outputs: dict) -> None:
    """Put all tensors of one element on the CPU, in one copy."""
    tensors = {name: value for name, value in outputs.items() if torch.is_tensor(value)}
    if tensors:
        on_gpu = next((value.device for value in tensors.values() if value.device.type != 'cpu'), torch.device('cpu'))
        values = torch.stack([value.detach().reshape(()).to(on_gpu) for value in tensors.values()])
        outputs.update(zip(tensors, values.cpu().unbind(), strict=True))


def _last_good(runner: Runner) -> str:
    path = find_latest_checkpoint(runner.work_dir)
    return f'the last good checkpoint is {path}' if path else 'and there is no checkpoint yet'
