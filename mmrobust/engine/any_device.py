"""What MMEngine's runner offers on GPUs only, for whatever device there is: bfloat16, and data-parallel training."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS, OPTIM_WRAPPERS
from torch import distributed, nn

__all__ = ['AnyDeviceDataParallel', 'BFloat16OptimWrapper', 'init_cpu_group']


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16. It needs no loss scaling, so autocast is all there is to it.

    ``AmpOptimWrapper`` does the same with ``dtype='bfloat16'``, but refuses a machine without an accelerator.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield


@MODEL_WRAPPERS.register_module()
class AnyDeviceDataParallel(MMDistributedDataParallel):
    """``MMDistributedDataParallel`` for a model on a CPU as well.

    The runner always passes ``device_ids``, which a model on a CPU must not have, and leaves synchronised batch
    normalisation as it is, which does not train on a CPU: there it becomes plain batch normalisation.
    """

    def __init__(self, module: nn.Module, device_ids: list[int] | None = None, **kwargs) -> None:
        if next(module.parameters()).device.type == 'cpu':
            module, device_ids = revert_sync_batchnorm(module), None
        super().__init__(module, device_ids=device_ids, **kwargs)


def init_cpu_group(config: Config) -> None:
    """Make ``launcher='pytorch'`` work without CUDA; with CUDA, or without a launcher, do nothing.

    MMEngine's ``init_dist`` calls ``torch.cuda.set_device`` whatever the backend, so the gloo group is opened here,
    before the runner, which then finds it. Environment variables are those of ``torchrun``.

    Raises:
        ValueError: there is no CUDA and the launcher is ``'slurm'`` or ``'mpi'``, or ``torchrun`` did not start this.
    """
    if config.launcher == 'none' or torch.cuda.is_available():
        return
    if config.launcher != 'pytorch':
        raise ValueError(f"Without CUDA the launcher must be 'none' or 'pytorch', but got {config.launcher!r}.")
    if 'RANK' not in os.environ:
        raise ValueError("The launcher 'pytorch' needs the processes to be started by torchrun.")
    distributed.init_process_group('gloo')
    config.setdefault(
        'model_wrapper_cfg',
        {
            'type': 'AnyDeviceDataParallel',
            'broadcast_buffers': False,
            'find_unused_parameters': config.get('find_unused_parameters', False),
        },
    )
