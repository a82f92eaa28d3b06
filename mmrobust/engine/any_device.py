"""Mixed precision and data-parallel training on any device, which MMEngine offers on GPUs only; statistics of norms."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_reduce_params
from mmengine.hooks import EMAHook
from mmengine.hooks import SyncBuffersHook as MMEngineSyncBuffersHook
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import distributed, nn

from mmrobust.acceleration import computes_in_bfloat16
from mmrobust.registry import HOOKS

__all__ = ['AnyDeviceDataParallel', 'BFloat16OptimWrapper', 'SyncBuffersHook', 'enable_amp', 'init_cpu_group']


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16. It needs no loss scaling, so autocast is all there is to it.

    ``AmpOptimWrapper`` with ``dtype='bfloat16'`` scales the loss all the same, which makes every step wait for the GPU,
    and refuses a machine without an accelerator. Checkpoints of both fit both.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield


def enable_amp(config: Config, dtype: str = 'auto') -> None:
    """Switch the optimizer wrapper of a configuration to mixed precision.

    Args:
        config: with ``optim_wrapper``, which is changed in place.
        dtype: ``'bfloat16'``; ``'float16'``, with dynamic loss scaling unless the config sets another ``loss_scale``;
            or ``'auto'``, the dtype that an ``AmpOptimWrapper`` of the config names, else bfloat16 where the device
            computes in it, else float16.

    Raises:
        ValueError: the wrapper is of a kind that cannot be switched, or the device does not compute in the dtype.
    """
    wrapper = config.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    kind = kind if isinstance(kind, str) else kind.__name__
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'BFloat16OptimWrapper'):
        raise ValueError(
            "--amp needs optim_wrapper.type 'OptimWrapper', 'AmpOptimWrapper' or 'BFloat16OptimWrapper', "
            f'but got {kind!r}.'
        )
    on_gpu = torch.cuda.is_available()
    has_bfloat16 = computes_in_bfloat16('cuda' if on_gpu else 'cpu')
    if dtype == 'auto':
        named = {'AmpOptimWrapper': wrapper.get('dtype'), 'BFloat16OptimWrapper': 'bfloat16'}.get(kind)
        dtype = str(named or ('bfloat16' if has_bfloat16 else 'float16')).removeprefix('torch.')
    if dtype == 'bfloat16' and has_bfloat16:
        wrapper.type = 'BFloat16OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)
    elif dtype == 'float16' and on_gpu:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.dtype = 'float16'
        wrapper.setdefault('loss_scale', 'dynamic')
    else:
        device = 'this GPU' if on_gpu else 'a CPU'
        allowed = 'bfloat16' if not on_gpu else 'bfloat16 or float16' if has_bfloat16 else 'float16'
        raise ValueError(f'Mixed precision on {device} must be in {allowed}, but got {dtype}.')


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


@HOOKS.register_module()
class SyncBuffersHook(MMEngineSyncBuffersHook):
    """MMEngine's hook, for the weights that ``EMAHook`` averages too.

    Each rank has counted statistics of its own images. It would validate with these, while a checkpoint holds those of
    rank 0. At the end of an epoch, before both, every rank takes the mean over ranks.
    """

    def after_train_epoch(self, runner: Runner) -> None:
        super().after_train_epoch(runner)
        for hook in runner.hooks if self.distributed else ():
            if isinstance(hook, EMAHook):
                all_reduce_params(hook.ema_model.buffers(), op='mean')


def init_cpu_group(config: Config) -> None:
    """Make the launchers ``'pytorch'`` and ``'slurm'`` work without CUDA; with CUDA, or without a launcher, do nothing.

    MMEngine's ``init_dist`` calls ``torch.cuda.set_device`` whatever the backend, so the gloo group is opened here,
    before the runner, which then finds it. Environment variables are those of ``torchrun``, or of Slurm's ``srun``.

    Raises:
        ValueError: there is no CUDA and the launcher is ``'mpi'``, or the launcher did not start this process.
        OSError: Slurm's ``scontrol``, which says where the first process is, cannot be run, and ``MASTER_ADDR`` is not
            set.
    """
    if config.launcher == 'none' or torch.cuda.is_available():
        return
    if config.launcher == 'slurm':
        _translate_slurm_environment()
    elif config.launcher != 'pytorch':
        raise ValueError(
            f"Without CUDA the launcher must be 'none', 'pytorch' or 'slurm', but got {config.launcher!r}."
        )
    elif 'RANK' not in os.environ:
        raise ValueError("The launcher 'pytorch' needs the processes to be started by torchrun.")
    seconds = config.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
    distributed.init_process_group('gloo', timeout=seconds and timedelta(seconds=seconds))
    config.setdefault(
        'model_wrapper_cfg',
        {
            'type': 'AnyDeviceDataParallel',
            'broadcast_buffers': False,
            'find_unused_parameters': config.get('find_unused_parameters', False),
        },
    )


def _translate_slurm_environment() -> None:
    """Set ``torchrun``'s variables from those of ``srun``, as MMEngine does on GPUs.

    ``MASTER_ADDR`` and ``MASTER_PORT`` stay what they are; else they are the first host of the job, and 29500.
    """
    if 'SLURM_PROCID' not in os.environ:
        raise ValueError("The launcher 'slurm' needs the processes to be started by srun.")
    if 'MASTER_ADDR' not in os.environ:
        command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]  # node[1-3] becomes three lines
        hosts = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        os.environ['MASTER_ADDR'] = hosts.split()[0]
    os.environ.setdefault('MASTER_PORT', '29500')
    os.environ['RANK'] = os.environ['SLURM_PROCID']
    os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']
    os.environ['LOCAL_RANK'] = os.environ['SLURM_LOCALID']
