"""Whether the outputs of a model are the classes of the data: their number, their names and their order."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import DATASETS
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from torch import nn

from mmrobust.datasets.imagenet_variants import WNIDS


def check_classes(
    outputs: int | None,
    data: Sequence[str],
    trained: Sequence[str] | None = None,
    subset: Sequence[int] | None = None,
    class_map: Mapping[str, str] | None = None,
) -> None:
    """Refuse a model whose outputs are not the classes of the data.

    Args:
        outputs: number of the model's classes; None if it does not say.
        data: names of the data's classes in the order of their labels.
        trained: names of the model's classes in the order of its outputs; None if unknown.
        subset: outputs that the data's labels are among, as a data set declares them in ``metainfo['subset']``. One for
            each class of the data says which output is which class, whatever the names.
        class_map: data's name of some of the model's classes that the model calls otherwise, one each.

    Raises:
        ValueError: they do not fit; the sentence shows both.
    """
    data, trained = [str(name) for name in data], trained and [str(name) for name in trained]
    declared = subset is not None and len(subset) == len(data)
    if outputs is not None and (outputs <= max(subset) if declared else outputs != len(data)):
        of_model = f' ({_shown(trained)})' if trained and len(trained) == outputs else ''
        raise ValueError(
            f'The model must have as many outputs as the data have classes, got {outputs} outputs{of_model} and '
            f'{len(data)} classes ({_shown(data)}): take a model of these classes, or declare which outputs are the '
            'classes, as metainfo.subset of an mmrobust.ImageFolder.'
        )
    if trained is None or declared:
        return
    class_map = {str(name): str(of_data) for name, of_data in (class_map or {}).items()}
    unknown = [name for name in class_map if name not in trained]
    if unknown:
        raise ValueError(f'class_map must name classes of the model ({_shown(trained)}), got {_shown(unknown)}')
    said, found = _named([class_map.get(name, name) for name in trained]), _named(data)
    differ = [place for place, pair in enumerate(zip(said, found, strict=False)) if not _same(*pair)]
    if differ or len(said) != len(found):
        place = differ[0] if differ else min(len(said), len(found))
        first = [_shown(names[place : place + 1]) or 'nothing' for names in (said, found)]
        raise ValueError(
            f"The data's classes must be the model's in the same order, {len(said)} ({_shown(said)}), got "
            f'{len(found)} ({_shown(found)}), where class {place} is {first[1]} instead of {first[0]}: rename or '
            "reorder the data's, or say which mean the same in the config, class_map={MODEL_CLASS: DATA_CLASS}."
        )


def num_outputs(model: nn.Module) -> int | None:
    """Number of a model's classes, of a segmentor, a classifier or what wraps it; None if it does not say."""
    for part in (model, getattr(model, 'head', None), getattr(model, 'decode_head', None)):
        if isinstance(number := getattr(part, 'num_classes', None), int) and number > 0:
            return number
    inner = getattr(model, 'module', None) or getattr(model, 'model', None)  # DDP, test-time augmentation, timm
    return None if inner is None else num_outputs(inner)


def classes_of_meta(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes in the ``meta`` of a checkpoint, as MMEngine writes it or its predecessors did."""
    of_data = meta.get('dataset_meta')
    of_data = of_data if isinstance(of_data, Mapping) else {}
    found = of_data.get('classes') or of_data.get('CLASSES') or meta.get('CLASSES')
    return tuple(map(str, found)) if isinstance(found, (list, tuple)) else None


def classes_of_config(dataset: Mapping[str, Any], scope: str) -> tuple[str, ...] | None:
    """Names of the classes that the config of a data set says, without looking at the data; None if it does not."""
    while 'dataset' in dataset or 'datasets' in dataset:
        dataset = dataset.get('dataset') or dataset['datasets'][0]
    kind = dataset.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    of_kind = getattr(kind, 'METAINFO', {}).get('classes')
    for names in ((dataset.get('metainfo') or {}).get('classes'), dataset.get('classes'), of_kind):
        if isinstance(names, (list, tuple)):
            return tuple(map(str, names))
    return None


def _named(names: Sequence[str]) -> Sequence[str]:
    """ImageNet's classes by their names where the data's folders give their wnids."""
    return IMAGENET_CATEGORIES if tuple(names) == WNIDS else names


def _same(one: str, other: str) -> bool:
    """Whether two names share a synonym: of some of ImageNet's, the list differs between versions of MMPretrain."""
    return one == other or not {part.strip() for part in one.split(',')}.isdisjoint(
        part.strip() for part in other.split(',')
    )


def _shown(names: Sequence[str]) -> str:
    """The first four names, cut, without synonyms: they may come from an untrusted file."""
    return ', '.join(repr(name.split(',')[0][:40]) for name in names[:4]) + (', ...' if len(names) > 4 else '')
