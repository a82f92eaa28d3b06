"""Images without labels, such as a test set whose labels are withheld: finding that out, and doing without."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.registry import DATASETS, TRANSFORMS

__all__ = ['why_unlabelled', 'without_labels']


def without_labels(config: Any) -> Any:
    """The config of a segmentation data set, or a pipeline, without label files and the steps that load them.

    Data sets and pipelines inside it, as of test-time augmentation, lose theirs too.
    """
    if isinstance(config, Mapping):
        return type(config)({key: without_labels(value) for key, value in config.items() if key != 'seg_map_path'})
    if not isinstance(config, list | tuple):
        return config
    kept = [(value, without_labels(value)) for value in config if not _loads_labels(value)]
    return type(config)(new for old, new in kept if new != [] or old == [])  # of alternatives none may be left


def why_unlabelled(config: Mapping[str, Any]) -> str:
    """Why no pixel of a segmentation data set has a label, as the start of a sentence; empty if one has.

    Labels are read until the first of them names a class: of a labelled data set one.

    Args:
        config: of the data set; built in the default scope.

    Raises:
        ValueError, FileNotFoundError: those of the data set, and of a label that is broken.
    """
    step = next(_label_steps(config), None)
    if step is None:
        return 'the pipeline has no LoadAnnotations'
    dataset, load = DATASETS.build(dict(config)), TRANSFORMS.build(dict(step))
    paths, found = [], 0
    for index in range(len(dataset)):
        sample = dataset.get_data_info(index)
        if not sample.get('seg_map_path'):
            continue
        paths.append(sample['seg_map_path'])
        try:
            label = load(sample)['gt_seg_map']
        except FileNotFoundError:
            continue
        found += 1
        if (label != sample.get('ignore_index', 255)).any():
            return ''
    if not paths:
        return 'data_prefix has no seg_map_path, or the labels of this split are withheld'
    if not found:
        return f'of {len(paths)} label files none is there, such as {paths[0]}'
    return f'no pixel is labelled in the {len(dataset)} images, whose labels are {paths[0]} and so on'


def _loads_labels(step: Any) -> bool:
    kind = step.get('type') if isinstance(step, Mapping) else None
    return (kind if isinstance(kind, str) else getattr(kind, '__name__', '')).endswith('LoadAnnotations')


def _label_steps(config: Any) -> Iterator[Mapping]:
    if _loads_labels(config):
        yield config
    elif isinstance(config, Mapping | list | tuple):
        for value in config.values() if isinstance(config, Mapping) else config:
            yield from _label_steps(value)
