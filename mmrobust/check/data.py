"""Which of the known data sets lie below a folder, and whether they are whole."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS, DefaultScope

from mmrobust.datasets.corruption_sets import CORRUPTION_SETS
from mmrobust.datasets.imagenet_variants import OF_CORRUPTIONS, VARIANTS, check_cells

_CITYSCAPES = {'train': 2975, 'val': 500}
_ACDC = {'train': 1600, 'val': 406, 'test': 2000}
_IMAGENET_TRAIN = 1281167
_DIGITS = {'train': 1442, 'val': 355}


def rows(root: str | Path) -> Iterator[tuple[str, str]]:
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
