"""Inventory: the versions that are installed, the device, and the data sets below a folder."""

import json
import os
import platform
import shutil
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DATASETS, DefaultScope

from mmrobust.compat import STACKS, find_stack, installed, own_file
from mmrobust.datasets.corruption_sets import CORRUPTION_SETS
from mmrobust.datasets.imagenet_variants import OF_CORRUPTIONS, VARIANTS, check_cells
from mmrobust.ops import kernels
from mmrobust.version import __version__

LITTLE_SHARED_MEMORY = 2**30  # bytes; a container has 64 MiB by default
_PACKAGES = ('torch', 'torchvision', 'timm', 'numpy', 'opencv-python', 'opencv-python-headless')

# images of each part
_CITYSCAPES = {'train': 2975, 'val': 500}
_ACDC = {'train': 1600, 'val': 406, 'test': 2000}
_IMAGENET_TRAIN = 1281167
_DIGITS = {'train': 1442, 'val': 355}


def machine() -> Iterator[tuple[str, str]]:
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


def data(root: str | Path) -> Iterator[tuple[str, str]]:
    """Label and text of each line to print: what is there, by the data sets' own checks, and what is not.

    Raises:
        ValueError: after all lines, of the first data set that is not whole.
    """
    root, absent, broken = Path(root), [], []
    for name, parts in _known(root):
        if not (root / name).is_dir():
            absent.append(name)
            continue
        try:
            yield name, ', '.join(f'{part}{_counted(config)} of {expected}' for part, config, expected in parts)
        except (ValueError, OSError) as error:
            broken.append(f'{error}')
            yield name, f'NOT WHOLE: {error}'
    if absent:
        yield 'not there', f'{", ".join(absent)} in {root.absolute()}'
    if broken:
        raise ValueError(broken[0])


def _known(root: Path) -> Iterator[tuple[str, list[tuple[str, Any, Any]]]]:
    """Folder, and for each part of it a word, the config of its data set and how many images it should have."""
    yield 'cityscapes', [(f'{part} ', _cityscapes(root / 'cityscapes', part), of) for part, of in _CITYSCAPES.items()]
    drawn = _drawn(root / 'minicity' / 'minicity.json')
    parts = [(f'{part} ', _cityscapes(root / 'minicity', part), drawn.get(f'num_{part}', '?')) for part in _CITYSCAPES]
    yield 'minicity', parts
    acdc = dict(type='mmrobust.ACDCDataset', data_root=str(root / 'acdc'))
    yield 'acdc', [(f'{part} ', dict(acdc, split=part), of) for part, of in _ACDC.items()]
    train = dict(type='mmrobust.ImageFolder', data_root=str(root / 'imagenet' / 'train'), expected_classes=1000)
    yield (
        'imagenet',
        [('train ', train, _IMAGENET_TRAIN), ('val ', _variant(root / 'imagenet' / 'val', 'imagenet'), 50000)],
    )
    for name, variant in VARIANTS.items():
        if name not in ('imagenet', *OF_CORRUPTIONS):
            yield name, [('', _variant(root / name, name), variant.num_images)]
    for name in OF_CORRUPTIONS:
        yield name, [('cells ', root / name, len(CORRUPTION_SETS[name].cells))]
    folder = dict(type='mmrobust.ImageFolder', expected_classes=10)
    yield (
        'digits',
        [(f'{part} ', dict(folder, data_root=str(root / 'digits' / part)), of) for part, of in _DIGITS.items()],
    )


def _cityscapes(root: Path, part: str) -> dict:
    prefix = dict(img_path=f'leftImg8bit/{part}', seg_map_path=f'gtFine/{part}')
    return dict(type='mmrobust.CityscapesDataset', data_root=str(root), data_prefix=prefix)


def _variant(root: Path, name: str) -> dict:
    return dict(type='mmrobust.ImageNetVariant', data_root=str(root), variant=name)


def _drawn(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _counted(config: Any) -> int:
    """Images of a data set; of ImageNet-C and its like, which are large, the cells.

    Raises:
        ValueError, FileNotFoundError: those of the data set.
    """
    if isinstance(config, Path):
        cells = CORRUPTION_SETS[config.name].cells
        check_cells(config.name, str(config), cells)
        return len(cells)
    with DefaultScope.overwrite_default_scope('mmseg'), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return len(DATASETS.build(dict(config, pipeline=[])))
