"""Names of data in a report: those of a test, and those that a model was trained on."""

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrobust.registry import type_name

SPLITS = ('train', 'val', 'test', 'validation', 'training', 'testing')
FORMATS = (
    'BaseSegDataset',
    'CityscapesDataset',
    'ImageFolder',
    'CustomDataset',
    'BaseDataset',
)  # formats, not data sets
MINICITY = 'minicity.json'  # what its writer leaves
NAMES = {'cityscapes': 'Cityscapes', 'minicity': 'MiniCity', 'acdc': 'ACDC', 'imagenet': 'ImageNet'}
# of train, val and test, as published
CITIES = {
    *('aachen', 'bochum', 'bremen', 'cologne', 'darmstadt', 'dusseldorf', 'erfurt', 'hamburg', 'hanover', 'jena'),
    *('krefeld', 'monchengladbach', 'strasbourg', 'stuttgart', 'tubingen', 'ulm', 'weimar', 'zurich'),
    *('frankfurt', 'lindau', 'munster'),
    *('berlin', 'bielefeld', 'bonn', 'leverkusen', 'mainz', 'munich'),
}
LETTERS = 60  # at most: the name may come from an untrusted file


def data_title(dataset: Mapping[str, Any]) -> str:
    """Name and split of a data set from its config, such as ``Cityscapes val`` or ``MiniCity train``.

    The folders are looked at where they are there: MiniCity and Cityscapes share a format. Others are called like their
    class, or like their folder where the class is only a format.
    """
    if 'datasets' in dataset:
        return ' + '.join(dict.fromkeys(map(data_title, dataset['datasets'])))
    if 'type' in dataset and 'pipeline' not in dataset and isinstance(dataset.get('dataset'), Mapping):
        return data_title(dataset['dataset'])
    kind = type_name(dataset.get('type'))
    prefix = dataset.get('data_prefix') or dataset.get('img_dir') or ''
    prefix = (prefix.get('img_path') or '') if isinstance(prefix, Mapping) else prefix
    root = Path(str(dataset.get('data_root') or ''))
    parts = [*root.parts, *Path(str(prefix)).parts]
    split = dataset.get('split') or next((part for part in reversed(parts) if part in SPLITS), '')
    folder = next((part for part in reversed(root.absolute().parts) if part not in SPLITS), '')
    if any((place / MINICITY).is_file() for place in (root, root.parent)):
        name = 'MiniCity'
    elif kind == 'CityscapesDataset':
        name = 'Cityscapes' if _is_cityscapes(root / str(prefix), folder) else folder
    else:
        name = folder if kind in FORMATS else kind.removesuffix('Dataset')
    found = f'{NAMES.get(name, name)} {split}'.strip()
    return ''.join(letter for letter in found if letter.isprintable())[:LETTERS] or 'unnamed data'


def trained_on(meta: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """What a model was trained on and who says so, or ``unknown``.

    Args:
        meta: of its checkpoint, where MMEngine and its predecessors write the training's config as text.
        config: what the model is built from; its training data count if the checkpoint says nothing.
    """
    for content, who in ((_of_text(meta.get('cfg') or meta.get('config')), 'its checkpoint'), (config, 'the config')):
        loader, old = content.get('train_dataloader'), content.get('data')
        dataset = (loader or {}).get('dataset') or (old.get('train') if isinstance(old, Mapping) else None)
        if isinstance(dataset, Mapping):
            return f'{data_title(dataset)}, as {who} says'
    return 'unknown'


def _is_cityscapes(images: Path, folder: str) -> bool:
    """By its cities; where the images are on another machine, by the name of the folder."""
    if images.is_dir():
        found = {name for name in os.listdir(images) if (images / name).is_dir()}
        return bool(found) and found <= CITIES
    return folder.lower() == 'cityscapes'


def _of_text(text: Any) -> Mapping[str, Any]:
    """The values of a config's text, ``name = dict(...)`` line by line, not run; empty if it is no config."""
    try:
        body = ast.parse(text).body if isinstance(text, str) else ()
        assigned = [step for step in body if isinstance(step, ast.Assign) and isinstance(step.targets[0], ast.Name)]
        wanted = ('train_dataloader', 'data')
        return {step.targets[0].id: _value(step.value) for step in assigned if step.targets[0].id in wanted}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def _value(node: ast.AST) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        return {word.arg: _value(word.value) for word in node.keywords}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    return ast.literal_eval(node)
