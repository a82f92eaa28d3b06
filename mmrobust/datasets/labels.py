"""What must be known of labels before a run: whether those that are there are right, and whether there are any."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mmengine.dist import get_dist_info
from mmengine.registry import DATASETS, TRANSFORMS
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from torch.utils.data import Dataset

from mmrobust.datasets.transforms.loading import BrokenImageError
from mmrobust.registry import type_name

MOST = 2000  # label files of a data set: of Cityscapes' size they take two cores 10 s


def check_labels(dataset: Dataset, indices: Sequence[int] | None = None) -> None:
    """Load label files with the dataset's own step, which says what is wrong with one and names it.

    Of more than ``MOST`` files as many are taken, spread evenly; each process of a distributed run takes its share.

    Args:
        dataset: Any; one that is no ``BaseSegDataset``, wraps none as MMEngine does, or has no labels, is skipped.
        indices: Of the samples to take; None takes all.

    Raises:
        ValueError: A label has wrong values or is broken, unless the dataset skips broken files.
        FileNotFoundError: There is no such label.
    """
    rank, world_size = get_dist_info()
    for part in segmentation_parts(dataset):
        steps = [step for step in part.pipeline.transforms if isinstance(step, LoadAnnotations)]
        taken = range(len(part)) if indices is None else indices
        taken = taken[:: -(-len(taken) // MOST) or 1][rank::world_size]
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(lambda index, part=part, steps=steps: _load_label(part, steps, index), taken):
                pass


def segmentation_parts(dataset: Dataset) -> Iterator[BaseSegDataset]:
    """The datasets of MMSegmentation in a dataset, which may be one or wrap several."""
    if isinstance(dataset, BaseSegDataset):
        yield dataset
    else:
        for part in (getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())):
            if part is not None:
                yield from segmentation_parts(part)


def _load_label(dataset: BaseSegDataset, steps: Sequence[LoadAnnotations], index: int) -> None:
    sample = dataset.get_data_info(index)
    if sample.get('seg_map_path') is None:
        return
    for step in steps:
        try:
            step.transform(sample)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'There is no label {sample["seg_map_path"]} of the image {sample["img_path"]}: check '
                'data_prefix.seg_map_path and seg_map_suffix.'
            ) from error
        except BrokenImageError:
            if getattr(dataset, 'on_corrupt', 'raise') == 'raise':
                raise


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
    return isinstance(step, Mapping) and type_name(step.get('type')).endswith('LoadAnnotations')


def _label_steps(config: Any) -> Iterator[Mapping]:
    if _loads_labels(config):
        yield config
    elif isinstance(config, Mapping | list | tuple):
        for value in config.values() if isinstance(config, Mapping) else config:
            yield from _label_steps(value)
