"""Cityscapes-C: the test pictures of a config under common corruptions."""

import copy
from collections.abc import Sequence

from mmengine.config import Config

from mmrobust.evaluation.benchmarks import cityscapes_c_summary
from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.pictures import LabelMapPictures
from mmrobust.evaluation.benchmarks.segmentation_benchmark import SegmentationBenchmark
from mmrobust.evaluation.protocols import CLEAN, Cell, preset_groups, select_cells


class CityscapesC(SegmentationBenchmark):
    """Which pictures each cell of Cityscapes-C has; over another data set, that data set's counterpart.

    Args:
        config: its ``test_dataloader`` names the data and the pipeline.
        preset: see :mod:`mmrobust.evaluation.protocols`.
        corruptions: these instead of the preset's.
        severities: these instead of the preset's.
        seed: of the random corruptions.
        profile: channel order of the corruptions, see :class:`mmrobust.datasets.transforms.Corrupt`.
        corrupted_root: read the corrupted pictures from this copy; None corrupts them on the way to the model.
        data_root: folder of the clean pictures; None takes the config's.
        max_images: take this many pictures, spread evenly; None takes all.

    Raises:
        ValueError: the preset, a corruption, a severity or ``max_images`` is not allowed.
        FileNotFoundError: there are no data.
    """

    name = 'cityscapes-c'

    def __init__(
        self,
        config: Config,
        preset: str = 'kamann',
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] | None = None,
        seed: int = 0,
        profile: str = 'rgb',
        corrupted_root: str | None = None,
        data_root: str | None = None,
        max_images: int | None = None,
    ) -> None:
        dataset = copy.deepcopy(config.test_dataloader.dataset)
        if data_root is not None:
            dataset.data_root = data_root
        self.cells = [CLEAN, *select_cells(preset, corruptions, severities)]
        self.groups = preset_groups(preset)
        self.preset = preset
        self.seed = seed
        self.profile = profile
        self.corrupted_root = corrupted_root
        self._pictures = LabelMapPictures(dataset, config.get('default_scope') or 'mmseg', max_images)

    @property
    def identity(self) -> dict[str, str | int]:
        """What of the benchmark decides the numbers."""
        num_images = self._pictures.size
        return {'benchmark': self.name, 'seed': self.seed, 'profile': self.profile, 'num_images': num_images}

    @property
    def protocol(self) -> dict:
        """What else to say of it beside the results."""
        source = self.corrupted_root or 'on the fly'
        return {
            'preset': self.preset,
            'corrupted': source,
            'cells': [cell.name for cell in self.cells if cell != CLEAN],
        }

    def pictures(self, cell: Cell) -> LabelMapPictures:
        """The clean pictures of a cell."""
        return self._pictures

    def corrupted(self, cell: Cell, dataset: dict) -> dict:
        """A config of clean pictures as one of a cell's pictures."""
        if cell == CLEAN:
            return dataset
        return dict(
            type='mmrobust.CorruptedDataset',
            dataset=dataset,
            corruption=cell.corruption,
            severity=cell.severity,
            seed=self.seed,
            profile=self.profile,
            corrupted_root=self.corrupted_root,
        )

    def summarize(self, store: CellStore) -> dict:
        """Numbers of all finished cells, for JSON."""
        corrupted = [cell for cell in self.cells if cell != CLEAN]
        return cityscapes_c_summary.summarize(store, corrupted, self.groups, self._pictures.class_names)

    to_csv = staticmethod(cityscapes_c_summary.to_csv)
    to_markdown = staticmethod(cityscapes_c_summary.to_markdown)
