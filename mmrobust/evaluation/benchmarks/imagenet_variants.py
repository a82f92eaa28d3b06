"""ImageNet-A, -R, -Sketch and -V2: a classifier under distribution shift."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmrobust.datasets.imagenet_variants import OF_CORRUPTIONS, VARIANTS
from mmrobust.evaluation.benchmarks.base import require_some
from mmrobust.evaluation.benchmarks.classification_base import ErrorTable, error_layout
from mmrobust.evaluation.cells import CLEAN, Cell
from mmrobust.evaluation.images import LabelledImages
from mmrobust.evaluation.report import Layout
from mmrobust.registry import BENCHMARKS

RELATIVES = tuple(variant for variant in VARIANTS if variant not in ('imagenet', *OF_CORRUPTIONS))


@BENCHMARKS.register_module(name='imagenet-variants')
class ImageNetVariants(ErrorTable):
    """The clean test images, and each variant; a cell is a variant.

    Predictions on ImageNet-A and -R are among their 200 classes.

    Args:
        config: its ``test_dataloader`` names the clean data and the pipeline, which all variants go through.
        data_root: folder with ``imagenet-a``, ``imagenet-r``, ...
        variants: some of imagenet-v2, imagenet-a, imagenet-r and imagenet-sketch.
        max_images: take this many images of each, spread evenly; None takes all.
        expected_images: how many images each variant must have; None means the published numbers.

    Raises:
        ValueError: a value is not allowed, or class folders are wrong.
        FileNotFoundError: there are no data.
    """

    name = 'imagenet-variants'
    options = {'variants': dict(nargs='+', choices=RELATIVES, help='default: all'), 'expected_images': {}}

    def __init__(
        self,
        config: Config,
        data_root: str = 'data',
        variants: Sequence[str] = RELATIVES,
        max_images: int | None = None,
        expected_images: int | None = None,
    ) -> None:
        require_some('variants', variants, RELATIVES)
        self.data_root = data_root
        self.image_sets = {CLEAN: LabelledImages.of_config(config, max_images)}
        for variant in variants:
            dataset = dict(
                type='mmrobust.ImageNetVariant',
                variant=variant,
                data_root=f'{data_root}/{variant}',
                expected_images=expected_images,
                pipeline=config.test_dataloader.dataset.pipeline,
            )
            self.image_sets[Cell(variant)] = LabelledImages.of_config(config, max_images, dataset)
        self.cells = list(self.image_sets)

    @property
    def identity(self) -> dict[str, Any]:
        return {'benchmark': self.name, 'num_images': {cell.key: self.size(cell) for cell in self.cells}}

    @classmethod
    def layout(cls, results: Mapping, provenance: Mapping) -> Layout:
        names = [name for name in results['cells'] if name != 'clean']
        few = [title for name, title in (('imagenet-a', 'ImageNet-A'), ('imagenet-r', 'ImageNet-R')) if name in names]
        among = (f'On {" and ".join(few)} the prediction is among the 200 classes of its labels.',) if few else ()
        return error_layout(
            cls.name, 'ImageNet variants', results, 'variant', names[0] if names else 'clean', ('num_images',), among
        )
