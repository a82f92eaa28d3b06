"""ImageNet-A, -R, -Sketch and -V2: a classifier on pictures of another kind."""

from collections.abc import Sequence

from mmengine.config import Config

from mmrobust.datasets.imagenet_variants import VARIANTS
from mmrobust.evaluation.benchmarks import error_table
from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.classification_benchmark import ClassificationBenchmark
from mmrobust.evaluation.benchmarks.pictures import LabelledPictures
from mmrobust.evaluation.protocols import CLEAN, Cell

RELATIVES = tuple(variant for variant in VARIANTS if variant not in ('imagenet', 'imagenet-c'))


class ImageNetVariants(ClassificationBenchmark):
    """The clean test pictures, and each variant; a cell is a variant.

    Predictions on ImageNet-A and -R are among their 200 classes.

    Args:
        config: its ``test_dataloader`` names the clean data and the pipeline, which all variants go through.
        data_root: folder with ``imagenet-a``, ``imagenet-r``, ...
        variants: some of imagenet-v2, imagenet-a, imagenet-r and imagenet-sketch.
        max_images: take this many pictures of each, spread evenly; None takes all.
        expected_images: how many pictures each variant must have; None means the published numbers.

    Raises:
        ValueError: a value is not allowed, or class folders are wrong.
        FileNotFoundError: there are no data.
    """

    name = 'imagenet-variants'

    def __init__(
        self,
        config: Config,
        data_root: str = 'data',
        variants: Sequence[str] = RELATIVES,
        max_images: int | None = None,
        expected_images: int | None = None,
    ) -> None:
        scope = config.get('default_scope') or 'mmpretrain'
        clean = config.test_dataloader.dataset
        self._pictures = {CLEAN: LabelledPictures(clean, scope, max_images)}
        for variant in variants:
            if variant not in RELATIVES:
                raise ValueError(f'variants must be some of {", ".join(RELATIVES)}, got {variant!r}')
            dataset = dict(
                type='mmrobust.ImageNetVariant',
                variant=variant,
                data_root=f'{data_root}/{variant}',
                expected_images=expected_images,
                pipeline=clean.pipeline,
            )
            self._pictures[Cell(variant)] = LabelledPictures(dataset, scope, max_images)
        self.cells = list(self._pictures)

    @property
    def identity(self) -> dict:
        """What of the benchmark decides the numbers."""
        return {'benchmark': self.name, 'num_images': {cell.name: self.size(cell) for cell in self.cells}}

    @property
    def protocol(self) -> dict:
        """What else to say of it beside the results."""
        return {'cells': [cell.name for cell in self.cells]}

    def pictures(self, cell: Cell) -> LabelledPictures:
        """The pictures of a variant."""
        return self._pictures[cell]

    def summarize(self, store: CellStore) -> dict:
        """Numbers of all finished cells, for JSON."""
        return error_table.summarize(store, self.cells)

    to_csv = staticmethod(error_table.to_csv)
    to_markdown = staticmethod(error_table.to_markdown)
