"""ImageNet-C: error of a classifier under common corruptions."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from mmrobust.corruptions import EXTRA, GROUPS
from mmrobust.datasets.imagenet_variants import check_imagenet_c
from mmrobust.evaluation.benchmarks import imagenet_c_summary
from mmrobust.evaluation.benchmarks.cell_store import CellStore
from mmrobust.evaluation.benchmarks.classification_benchmark import ClassificationBenchmark
from mmrobust.evaluation.benchmarks.pictures import LabelledPictures
from mmrobust.evaluation.protocols import CLEAN, Cell, select_cells
from mmrobust.files import read_json

CROP = dict(type='CenterCrop', crop_size=224)


class ImageNetC(ClassificationBenchmark):
    """ImageNet-C (Hendrycks and Dietterich, ICLR 2019), or its counterpart over another data set.

    The official pictures are JPEGs that were made once; they are 224 x 224, and go to the model without a resize. On
    the fly, the test pictures of the config are corrupted after its resize and crop, with imagecorruptions' algorithms
    and without a JPEG step: close, but not the same, so a report says which it is and a folder never mixes them.

    Args:
        config: its ``test_dataloader`` names the clean data and the pipeline.
        data_root: folder of the official pictures, ``<corruption>/<severity>/<wnid>/*.JPEG``; None corrupts on the fly.
        corruptions: some of the 15 (or 4 extra) corruptions; None takes the 15.
        severities: some of 1 to 5; None takes all. mCE needs all 15 and all 5.
        extras: take the 4 extra corruptions too; they stay out of every mean over the 15.
        seed: of corruptions on the fly.
        reference: ``results.json`` of the network that CE is relative to, on the same pictures; None takes AlexNet,
            which was measured on ImageNet only.
        max_images: take this many pictures, spread evenly; None takes all.
        expected_images: how many pictures each folder must have; None means 50000.

    Raises:
        ValueError: a value is not allowed, the reference is of another protocol, or class folders are wrong.
        FileNotFoundError: there are no data, or no reference.
    """

    name = 'imagenet-c'

    def __init__(
        self,
        config: Config,
        data_root: str | None = None,
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] | None = None,
        extras: bool = False,
        seed: int = 0,
        reference: str | None = None,
        max_images: int | None = None,
        expected_images: int | None = None,
    ) -> None:
        names = corruptions or [name for names in GROUPS.values() for name in names] + (list(EXTRA) if extras else [])
        self.cells = [CLEAN, *select_cells('michaelis', names, severities)]
        self.seed = seed
        self.data_root = data_root
        self.scope = config.get('default_scope') or 'mmpretrain'
        self.max_images = max_images
        self.expected_images = expected_images
        self._clean = LabelledPictures(config.test_dataloader.dataset, self.scope, max_images)
        self.reference = None if reference is None else self._read_reference(reference)

    @property
    def identity(self) -> dict:
        """What of the benchmark decides the numbers."""
        source = 'on the fly' if self.data_root is None else 'official'
        return {'benchmark': self.name, 'corrupted': source, 'seed': self.seed, 'num_images': self._clean.size}

    @property
    def protocol(self) -> dict:
        """What else to say of it beside the results."""
        corrupted = [cell.name for cell in self.cells if cell != CLEAN]
        return {'data_root': self.data_root, 'normalised_by': self._normalised_by(), 'cells': corrupted}

    def pictures(self, cell: Cell) -> LabelledPictures:
        """The pictures of a cell: for corruptions on the fly, the clean ones."""
        if cell == CLEAN or self.data_root is None:
            return self._clean
        pipeline = list(self._clean.dataset['pipeline'])
        dataset = dict(
            type='mmrobust.ImageNetVariant',
            variant='imagenet-c',
            data_root=self.data_root,
            corruption=cell.corruption,
            severity=cell.severity,
            expected_images=self.expected_images,
            pipeline=[pipeline[0], CROP, pipeline[-1]],
        )
        return LabelledPictures(dataset, self.scope, self.max_images)

    def corrupted(self, cell: Cell, dataset: dict) -> dict:
        """A config of a cell's pictures, with the corruption after the crop if it is made on the fly."""
        if cell == CLEAN or self.data_root is not None:
            return dataset
        corrupt = dict(
            type='mmrobust.Corrupt',
            corruption=cell.corruption,
            severity=cell.severity,
            data_root=dataset.get('data_root'),
            seed=self.seed,
        )
        return dict(dataset, pipeline=[*dataset['pipeline'][:-1], corrupt, dataset['pipeline'][-1]])

    def require(self, cells: Sequence[Cell]) -> None:
        """Look for the folders of all these cells, before hours are spent on those that are there.

        Raises:
            FileNotFoundError: a folder of the official pictures is missing; the sentence says which.
        """
        if self.data_root is not None:
            check_imagenet_c(self.data_root, [cell for cell in cells if cell != CLEAN])

    def size(self, cell: Cell) -> int:
        """Number of pictures of a cell, without looking at the disk."""
        return self._clean.size

    def summarize(self, store: CellStore) -> dict:
        """Numbers of all finished cells, for JSON."""
        corrupted = [cell for cell in self.cells if cell != CLEAN]
        return imagenet_c_summary.summarize(store, corrupted, self._normalised_by(), self.reference)

    to_csv = staticmethod(imagenet_c_summary.to_csv)
    to_markdown = staticmethod(imagenet_c_summary.to_markdown)

    def _normalised_by(self) -> str | None:
        if self.reference is not None:
            return self.reference['provenance']['config']
        return 'AlexNet' if len(self._clean.class_names) == 1000 else None

    def _read_reference(self, path: str) -> dict:
        if not Path(path).is_file():
            raise FileNotFoundError(f'There is no reference {path!r}: it is the results.json of a run of imagenet-c.')
        try:
            content = read_json(path)
            found = {key: content['provenance'][key] for key in self.identity}
            content['results']['cells'], content['results']['clean_error']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{path} is not the results.json of a run of imagenet-c: {error!r}') from error
        wrong = [f'{key} {found[key]!r}, here {value!r}' for key, value in self.identity.items() if found[key] != value]
        if wrong:
            raise ValueError(f'the reference {path} is of another protocol ({"; ".join(wrong)})')
        return content
