"""ACDC: real fog, night, rain and snow, for a model that was trained on Cityscapes."""

import copy
from collections.abc import Sequence

from mmengine.config import Config

from mmrobust.datasets.acdc import CONDITIONS, conditions_known
from mmrobust.evaluation.benchmarks import acdc_summary
from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.pictures import LabelMapPictures
from mmrobust.evaluation.benchmarks.segmentation_benchmark import SegmentationBenchmark
from mmrobust.evaluation.protocols import Cell


class ACDC(SegmentationBenchmark):
    """Which pictures each condition of ACDC (Sakaridis et al., ICCV 2021) has; a cell is a condition.

    Pictures go through the config's own test pipeline, as in the paper's protocol: there a 1920 x 1080 picture is
    resized to 1820 x 1024, and the prediction back.

    Args:
        config: its ``test_dataloader`` has the pipeline.
        data_root: folder of ACDC, see :class:`mmrobust.datasets.ACDCDataset`.
        split: ``'val'`` or ``'train'``; ``'test'`` has no labels, so there are predictions and no numbers.
        conditions: some of fog, night, rain and snow.
        max_images: take this many pictures of each condition, spread evenly; None takes all.

    Raises:
        ValueError: the split, a condition or ``max_images`` is not allowed.
        FileNotFoundError: there are no data.
    """

    name = 'acdc'

    def __init__(
        self,
        config: Config,
        data_root: str = 'data/acdc',
        split: str = 'val',
        conditions: Sequence[str] = CONDITIONS,
        max_images: int | None = None,
    ) -> None:
        scope = config.get('default_scope') or 'mmseg'
        pipeline = copy.deepcopy(config.test_dataloader.dataset.pipeline)
        if split == 'test':
            pipeline = [step for step in pipeline if not str(step['type']).endswith('LoadAnnotations')]
        dataset = dict(type='mmrobust.ACDCDataset', data_root=data_root, split=split, pipeline=pipeline)
        parts = {Cell(condition): [condition] for condition in conditions}
        if not conditions_known(data_root, split):
            parts = {Cell('all'): list(conditions)}  # the folders merge them: one number is all that can be said
        self.split = split
        self._pictures = {
            cell: LabelMapPictures(dataset | dict(conditions=part), scope, max_images) for cell, part in parts.items()
        }
        self.cells = list(self._pictures)

    @property
    def identity(self) -> dict[str, str | int]:
        """What of the benchmark decides the numbers."""
        num_images = sum(pictures.size for pictures in self._pictures.values())
        return {'benchmark': self.name, 'split': self.split, 'num_images': num_images}

    @property
    def protocol(self) -> dict:
        """What else to say of it beside the results."""
        return {'cells': [cell.name for cell in self.cells]}

    def pictures(self, cell: Cell) -> LabelMapPictures:
        """The pictures of a condition."""
        return self._pictures[cell]

    def corrupted(self, cell: Cell, dataset: dict) -> dict:
        """The same config: the weather did it."""
        return dataset

    def summarize(self, store: CellStore) -> dict:
        """Numbers of all finished conditions, for JSON."""
        return acdc_summary.summarize(store, self.cells, self._pictures[self.cells[0]].class_names)

    to_csv = staticmethod(acdc_summary.to_csv)
    to_markdown = staticmethod(acdc_summary.to_markdown)
