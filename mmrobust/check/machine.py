"""The versions that are installed, and the device."""

import os
import platform
import shutil
from collections.abc import Iterable, Iterator

import torch

from mmrobust.compat import STACKS, find_stack, installed, own_file
from mmrobust.ops import kernels
from mmrobust.version import __version__

LITTLE_SHARED_MEMORY = 2**30  # bytes; a container has 64 MiB by default
_PACKAGES = ('torch', 'torchvision', 'timm', 'numpy', 'opencv-python', 'opencv-python-headless')


def rows() -> Iterator[tuple[str, str]]:
    """Label and text of each line to print."""
    yield 'mmrobust', f'{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}'
    stack = find_stack()
    line = 'OneDL forks' if stack == 'onedl' else 'official packages'
    yield 'OpenMMLab', f'{line}: {_versions(STACKS[stack].values())}'
    yield 'packages', _versions(_PACKAGES)
    here, tested = _here([*STACKS[stack].values(), *_PACKAGES]), tested_versions()
    other = [name for name in here if tested.get(name, here[name]) != here[name]]
    yield 'tested', f'other versions of {", ".join(other)}' if other else 'with exactly these versions'
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            ran = kernels.fit(torch.zeros(1, device=f'cuda:{index}'))
            used = "Triton's kernels" if ran else 'PyTorch code in place of Triton kernels (pip install triton)'
            yield (
                f'cuda:{index}',
                f'{found.name}, capability {found.major}.{found.minor}, {found.total_memory / 2**30:.0f} GiB; {used}',
            )
    else:
        yield 'device', f'no GPU; {_cores()} CPU cores, {torch.get_num_threads()} threads of PyTorch'
    said = {name: os.environ.get(name) for name in ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY')}
    advice = '' if said['OMP_WAIT_POLICY'] else '; on a shared machine set OMP_WAIT_POLICY=PASSIVE'
    yield 'OpenMP', ', '.join(f'{name}={value or "not set"}' for name, value in said.items()) + advice
    size = shutil.disk_usage('/dev/shm').total if os.path.isdir('/dev/shm') else None
    if size is not None:
        little = size < LITTLE_SHARED_MEMORY
        advice = ': little for loading processes; docker run --shm-size=8g gives more, num_workers=0 needs none'
        yield 'shared memory', f'{size / 2**30:.3g} GiB in /dev/shm' + advice * little


def tested_versions() -> dict[str, str]:
    """Package to the version in constraints.txt, with which everything was tested."""
    path = own_file('constraints.txt')
    lines = path.read_text(encoding='utf-8').splitlines() if path.is_file() else []
    return dict(line.split('==') for line in lines if '==' in line and not line.startswith('#'))


def _versions(names: Iterable[str]) -> str:
    tested = tested_versions()
    return ', '.join(
        f'{name} {here}' + (f' (tested {tested[name]})' if tested.get(name, here) != here else '')
        for name, here in _here(names).items()
    )


def _here(names: Iterable[str]) -> dict[str, str]:
    return {name: version.partition('+')[0] for name, version in installed(names).items()}  # +cu130 is the same release


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
