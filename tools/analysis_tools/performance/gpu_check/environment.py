"""Device, driver and versions of a check."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mmcv
import mmengine
import mmpretrain
import mmseg
import torch

from mmrobust.ops import ADL_MODES
from mmrobust.version import __version__
from performance.gpu_check.work import Work, cores


def environment(work: Work) -> None:
    """Device, driver, versions, commit and cores."""
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        work.note('device', properties.name)
        work.note('capability', f'{properties.major}.{properties.minor}')
        work.note('device memory, GB', round(properties.total_memory / 1e9, 1))
        work.note('multiprocessors', properties.multi_processor_count)
        work.note('driver', _said('nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader'))
        work.note('CUDA of torch', torch.version.cuda)
        work.note('cuDNN', torch.backends.cudnn.version())
        torch.ones(1, device='cuda').sum().item()
    else:
        work.note('device', f'no GPU, {platform.processor() or platform.machine()}')
    work.note('cores', cores())
    work.note('threads of torch', torch.get_num_threads())
    work.note('system', platform.platform())
    work.note('Python', platform.python_version())
    work.note('torch', torch.__version__)
    work.note('triton', _version('triton'))
    for module in (mmengine, mmcv, mmseg, mmpretrain):
        work.note(module.__name__, module.__version__)
    work.note('timm', _version('timm'))
    work.note('mmrobust', __version__)
    work.note('commit', _commit(work.root))
    work.note('modes of ADL', ', '.join(ADL_MODES))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'not installed'


def _commit(root: Path) -> str:
    git = ('git', '-C', str(root))
    changed = _said(*git, 'status', '--porcelain', '--untracked-files=no')
    commit = _said(*git, 'rev-parse', 'HEAD')
    return f'{commit}, with changes' if commit != 'unknown' and changed else commit


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return 'unknown'
