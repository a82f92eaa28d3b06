"""Published sets of corrupted images beside ImageNet-C: error of a classifier on each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mmpretrain.datasets.categories import CIFAR10_CATEGORIES, CIFAR100_CATEGORIES

from mmrobust.datasets.cifar_c import CIFARC
from mmrobust.datasets.corrupted import position_of_loading
from mmrobust.datasets.corruption_sets import CORRUPTION_SETS
from mmrobust.evaluation.benchmarks.imagenet_c import ImageNetC
from mmrobust.evaluation.cells import CLEAN, Cell
from mmrobust.registry import BENCHMARKS


class PublishedSet(ImageNetC):
    """A published set, read as it is: ``data_root`` is its folder, and there is no seed.

    No errors of a network were published, so CE is relative to a ``reference`` of one's own.
    """

    on_the_fly = False
    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: how for name, how in ImageNetC.options.items() if name != 'seed'
    }
    data_set = None  # the set says it

    @property
    def identity(self) -> dict[str, Any]:
        return {key: value for key, value in super().identity.items() if key != 'seed'}

    @classmethod
    def about_images(cls, provenance: Mapping) -> list[str]:
        """Where the corrupted images come from."""
        return [f'The corrupted images are those of {cls.set.title}, as published.']

    @classmethod
    def why_no_network(cls, provenance: Mapping) -> str:
        """Why there is no CE."""
        return (
            f'There is no CE: no errors of a reference network were published for {cls.set.title}; --reference takes '
            'the results.json of a network of your own on the same images.'
        )

    def _normalised_by(self) -> str | None:
        return None if self.reference is None else self.reference['provenance']['config']


@BENCHMARKS.register_module(name='imagenet-c-bar')
class ImageNetCBar(PublishedSet):
    """ImageNet-C-bar (Mintun et al., NeurIPS 2021): 10 corruptions unlike those of ImageNet-C."""

    name = 'imagenet-c-bar'
    set = CORRUPTION_SETS[name]


@BENCHMARKS.register_module(name='imagenet-3dcc')
class ImageNet3DCC(PublishedSet):
    """ImageNet-3DCC (Kar et al., CVPR 2022): 12 corruptions that follow the depth of a scene."""

    name = 'imagenet-3dcc'
    set = CORRUPTION_SETS[name]


@BENCHMARKS.register_module(name='tiny-imagenet-c')
class TinyImageNetC(PublishedSet):
    """Tiny-ImageNet-C (Hendrycks and Dietterich, ICLR 2019): 200 classes, 64 x 64, through the config's pipeline."""

    name = 'tiny-imagenet-c'
    set = CORRUPTION_SETS[name]

    @property
    def published_classes(self) -> Sequence[str]:
        """Those of the clean images, which name the class folders or follow their order."""
        return self._clean.class_names

    def official(self, cell: Cell) -> dict:
        """Config of the published images of a cell."""
        return dict(
            type='mmrobust.ImageFolder',
            data_root=str(Path(self.corrupted_root, cell.name, str(cell.severity))),
            expected_classes=len(self.published_classes),
            expected_images=self.set.num_images if self.expected_images is None else self.expected_images,
            metainfo=dict(classes=list(self.published_classes)),
            pipeline=self._clean.dataset['pipeline'],
        )


@BENCHMARKS.register_module(name='cifar-10-c')
class CIFAR10C(PublishedSet):
    """CIFAR-10-C (Hendrycks and Dietterich, ICLR 2019): 32 x 32, through the config's own pipeline."""

    name = 'cifar-10-c'
    set = CORRUPTION_SETS[name]
    published_classes = CIFAR10_CATEGORIES

    def official(self, cell: Cell) -> dict:
        """Config of the published images of a cell; where the clean images are loaded from files, BGR as these."""
        pipeline = list(self._clean.dataset['pipeline'])
        if not self._clean.in_memory:
            del pipeline[position_of_loading(pipeline)]
        return dict(
            type='mmrobust.CIFARC',
            data_root=self.corrupted_root,
            corruption=cell.name,
            severity=cell.severity,
            num_classes=len(self.published_classes),
            channel_order='rgb' if self._clean.in_memory else 'bgr',
            expected_images=self.expected_images,
            pipeline=pipeline,
        )

    def some_files(self, cell: Cell) -> list[Path]:
        """The file of a corruption, and the labels."""
        files = [Path(self.corrupted_root, f'{cell.name}.npy'), Path(self.corrupted_root, 'labels.npy')]
        return files if all(path.is_file() for path in files) else []

    def require(self, cells: Sequence[Cell]) -> None:
        """Check the files of all these cells, before the first one runs.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: it holds something else.
        """
        for cell in dict.fromkeys(Cell(cell.name, 1) for cell in cells if cell != CLEAN):
            how = dict(num_classes=len(self.published_classes), expected_images=self.expected_images)
            CIFARC(self.corrupted_root, cell.name, cell.severity, **how, lazy_init=True).check_files()


@BENCHMARKS.register_module(name='cifar-100-c')
class CIFAR100C(CIFAR10C):
    """CIFAR-100-C (Hendrycks and Dietterich, ICLR 2019): 32 x 32, through the config's own pipeline."""

    name = 'cifar-100-c'
    set = CORRUPTION_SETS[name]
    published_classes = CIFAR100_CATEGORIES
