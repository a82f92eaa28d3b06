"""Shared by train.py and test.py: launcher, working directory, mixed precision, processes without CUDA."""

import argparse
import os
import subprocess
from datetime import timedelta
from pathlib import Path

import torch
from mmengine.config import Config
from torch import distributed

from mmrobust.acceleration import computes_in_bfloat16
from mmrobust.cli import number_in_environment


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` and the ``--local-rank`` that ``torch.distributed.launch`` passes."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes of a distributed run',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def set_run(config: Config, args: argparse.Namespace) -> None:
    """Set launcher and working directory: ``--work-dir``, else the config's own, else ``work_dirs/<config name>``.

    Loaders of a classification config stack their samples, unless it says otherwise: MMPretrain's own tools give them
    this, and its configs rely on it. Without loading processes what is said of them is left out.
    """
    config.launcher = args.launcher
    if args.launcher == 'pytorch':
        for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
            number_in_environment(name, 0)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config.work_dir = args.work_dir or config.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    for loader in filter(None, map(config.get, ('train_dataloader', 'val_dataloader', 'test_dataloader'))):
        if config.get('default_scope') == 'mmpretrain':
            loader.setdefault('collate_fn', {'type': 'default_collate'})
        if not loader.get('num_workers'):
            for name in ('persistent_workers', 'prefetch_factor', 'timeout'):  # which PyTorch refuses then
                loader.pop(name, None)


def require_settings(config: Config, what: str, *names: str) -> None:
    """Check that a config has what a run needs.

    Args:
        config: merged.
        what: what is run, for the message: "train".
        names: of settings.

    Raises:
        ValueError: it lacks some.
    """
    lacking = [name for name in names if config.get(name) is None]
    if lacking:
        raise ValueError(
            f'To {what}, a config must have {", ".join(names)}, got no {", ".join(lacking)}: add what is missing, or '
            'name a config of configs/ that has it in _base_.'
        )


def is_first_process(launcher: str) -> bool:
    """Whether this is rank 0, before the processes have met: what starts them says so in the environment."""
    name = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}.get(launcher)
    return name is None or number_in_environment(name, 0) == 0


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
