"""Reads the labels of a data set before a run starts, so that a wrong one is found now and not hours later."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from mmengine.dist import get_dist_info
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from torch.utils.data import Dataset

from mmrobust.datasets.transforms.loading import BrokenImageError

__all__ = ['check_labels', 'segmentation_parts']

MOST = 2000  # label files of a data set: of Cityscapes' size they take two cores 10 s


def check_labels(dataset: Dataset, indices: Sequence[int] | None = None) -> None:
    """Load label files with the dataset's own step, which says what is wrong with one and names it.

    Of more than ``MOST`` files as many are taken, spread evenly; each process of a distributed run takes its share.

    Args:
        dataset: Any; what is no ``BaseSegDataset``, or wraps none as MMEngine does, or has no labels, is left alone.
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
