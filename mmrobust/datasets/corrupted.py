"""Any dataset with corrupted images: Cityscapes-C is Cityscapes in this wrapper."""

import copy
from collections.abc import Mapping
from typing import Any

from torch.utils.data import Dataset

from mmrobust.registry import DATASETS, type_name


@DATASETS.register_module(name='CorruptedDataset')
def corrupted_dataset(
    dataset: dict,
    corruption: str,
    severity: int,
    seed: int = 0,
    profile: str = 'rgb',
    corrupted_root: str | None = None,
    region: int | tuple[int, int, int, int] | None = None,
    load_labels: dict | None = None,
) -> Dataset:
    """Build a dataset of MMSegmentation or MMPretrain with its images corrupted.

    In a config: ``dict(type='mmrobust.CorruptedDataset', corruption='fog', severity=3, dataset=<Cityscapes>)``. What is
    built is the dataset itself, with one step of its pipeline added or replaced. Labels and names are the clean ones.

    Args:
        dataset: config of a dataset whose pipeline has ``LoadImageFromFile``; it is not changed.
        corruption: a name of ``mmrobust.corruptions.CORRUPTIONS``.
        severity: 1 to 5.
        seed: of the random corruptions.
        profile: channel order, see :class:`mmrobust.datasets.transforms.Corrupt`.
        corrupted_root: read the images from this copy, which ``tools/dataset_converters/cityscapes_c.py`` wrote;
            None corrupts them when they are loaded. The pixels are the same.
        region: corrupt this part only, see :class:`mmrobust.datasets.transforms.CorruptRegion`; None corrupts all.
        load_labels: step that loads labels for a region that is a class; None takes the pipeline's.

    Raises:
        ValueError: the dataset is a wrapper; the pipeline has no ``LoadImageFromFile``; the corruption, severity or
            profile is not allowed; the copy is of another seed or profile. And the dataset's own errors.
        TypeError: the severity is not an integer.
        FileNotFoundError: there is no copy. And the dataset's own errors.
    """
    refuse_wrapper(dataset)
    dataset = copy.deepcopy(dataset)
    pipeline = list(dataset.get('pipeline') or ())
    position = position_of_loading(pipeline)
    how = dict(
        corruption=corruption,
        severity=severity,
        data_root=dataset.get('data_root') or None,
        seed=seed,
        profile=profile,
    )
    if region is not None:
        if corrupted_root is not None:
            raise ValueError(
                'a region must be corrupted on the fly, got a copy of whole images: leave out corrupted_root'
            )
        labels = load_labels or labels_step(pipeline)
        pipeline.insert(position + 1, dict(type='mmrobust.CorruptRegion', region=region, load_labels=labels, **how))
    elif corrupted_root is None:
        pipeline.insert(position + 1, dict(type='mmrobust.Corrupt', **how))
    else:
        pipeline[position].update(type='mmrobust.LoadCorruptedImageFromFile', corrupted_root=corrupted_root, **how)
    dataset['pipeline'] = pipeline  # set last: a ConfigDict takes a copy
    return DATASETS.build(dataset)


def refuse_wrapper(dataset: Mapping[str, Any]) -> None:
    """Refuse the config of a wrapper, such as ``ConcatDataset``, where the pipeline itself is needed.

    Raises:
        ValueError: it is one.
    """
    if 'pipeline' not in dataset and ('dataset' in dataset or 'datasets' in dataset):
        raise ValueError(
            f'the dataset must have a pipeline of its own here, got {type_name(dataset["type"])}: write a config for '
            'each dataset in it, and take them one after the other'
        )


def position_of_loading(pipeline: list[dict]) -> int:
    """Place of the step of a pipeline that loads the image.

    Raises:
        ValueError: there is no ``LoadImageFromFile``.
    """
    names = [type_name(step['type']) for step in pipeline]
    if 'LoadImageFromFile' not in names:
        raise ValueError(f'the pipeline must have LoadImageFromFile, got {names}')
    return names.index('LoadImageFromFile')


def labels_step(pipeline: list[dict]) -> dict | None:
    """The step of a pipeline that loads labels; None if there is none."""
    return next((step for step in pipeline if type_name(step['type']) == 'LoadAnnotations'), None)
