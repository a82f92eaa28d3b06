"""ImageNet-C: error of a classifier under common corruptions."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.config import Config
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from mmrobust.corruptions import CORRUPTIONS
from mmrobust.datasets.corruption_sets import CORRUPTION_SETS, CorruptionSet
from mmrobust.datasets.imagenet_variants import WNIDS, check_cells
from mmrobust.evaluation.benchmarks.base import protocol_title, severity_grid
from mmrobust.evaluation.benchmarks.classification_base import (
    IMAGENET_IMAGES,
    ClassificationBenchmark,
    error_samples,
    require_classes,
)
from mmrobust.evaluation.benchmarks.presets import select_cells
from mmrobust.evaluation.cells import CLEAN, Cell, differences
from mmrobust.evaluation.counts import Predictions
from mmrobust.evaluation.images import LabelledImages, fingerprint
from mmrobust.evaluation.paper_tables import paper_models
from mmrobust.evaluation.report import Column, Layout, Published, Table, at
from mmrobust.evaluation.statistics import (
    INTERVAL_LEVEL,
    Bootstrap,
    benchmark_mean,
    corruption_errors,
    mean_over_severities,
    relative_corruption_errors,
)
from mmrobust.files import read_json
from mmrobust.registry import BENCHMARKS

CROP = dict(type='CenterCrop', crop_size=224)
SMALL = 64  # pixels, the side of Tiny-ImageNet's images
OFFICIAL, ON_THE_FLY = 'official', 'on the fly'
SOURCES = {
    OFFICIAL: 'The corrupted images are the official JPEGs.',
    ON_THE_FLY: 'The corrupted images were made on the fly, without the JPEG step of the official ones: these numbers '
    'must not be compared with published ones.',
}


@BENCHMARKS.register_module(name='imagenet-c')
class ImageNetC(ClassificationBenchmark):
    """ImageNet-C (Hendrycks and Dietterich, ICLR 2019), or its counterpart over another data set.

    The official images are JPEGs that were made once; they are 224 x 224, and go to the model without a resize. On
    the fly, the test images of the config are corrupted after its resize and crop, with imagecorruptions' algorithms
    and without a JPEG step: close, but not the same, so a report says which it is and a folder never mixes them.

    Args:
        config: its ``test_dataloader`` names the clean data and the pipeline.
        data_root: folder of the official images, ``<corruption>/<severity>/<wnid>/*.JPEG``; None corrupts on the fly.
        corruptions: some of the 15 (or 4 extra) corruptions; None takes the 15.
        severities: some of 1 to 5; None takes all. mCE needs all 15 and all 5.
        extras: take the 4 extra corruptions too; they stay out of every mean over the 15.
        seed: of corruptions on the fly; None means 0.
        reference: ``results.json`` of the network that CE is relative to, on the same images; None takes AlexNet for
            all 50,000 validation images of ImageNet, of which its errors were published, and gives no CE for others.
        max_images: take this many images, spread evenly; None takes all.
        expected_images: how many images each folder must have; None means 50000.

    Raises:
        ValueError: a value is not allowed, the reference is of another protocol, or class folders are wrong.
        FileNotFoundError: there are no data, or no reference.
    """

    name = 'imagenet-c'
    set: ClassVar[CorruptionSet] = CORRUPTION_SETS['imagenet-c']
    on_the_fly: ClassVar[bool] = True  # whether its images can be made of clean ones
    published_classes: Sequence[str] = IMAGENET_CATEGORIES  # of the official images, in the order of their labels
    options = {
        'corruptions': {},
        'severities': {},
        'seed': {},
        'extras': dict(action='store_true', default=None, help='also the 4 extra corruptions'),
        'reference': dict(metavar='RESULTS.json', help='network that CE is relative to (default: AlexNet)'),
        'expected_images': dict(
            type=int, help='images per folder (default: the published number, of ImageNet-C 50000)'
        ),
    }

    def __init__(
        self,
        config: Config,
        data_root: str | None = None,
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] | None = None,
        extras: bool = False,
        seed: int | None = None,
        reference: str | None = None,
        max_images: int | None = None,
        expected_images: int | None = None,
    ) -> None:
        if data_root is None and not self.on_the_fly:
            raise ValueError(
                f'--data-root must be the folder of {self.set.title}, got none: '
                f'{self.set.remedy(corruptions or self.set.corruptions)}'
            )
        if seed is not None and not self.on_the_fly:
            raise ValueError(f'seed must be left out for {self.set.title}, whose images are as published, got {seed}')
        taken = corruptions or self.set.corruptions + (self.set.extra if extras else ())
        known = CORRUPTIONS if data_root is None else self.set.corruptions + self.set.extra
        self.cells = [CLEAN, *select_cells('michaelis', taken, severities, known)]
        self.seed = seed or 0
        self.corrupted_root = data_root
        self.config = config
        self.max_images = max_images
        self.expected_images = expected_images
        self._clean = LabelledImages.of_config(config, max_images)
        if data_root is None and self._clean.in_memory:
            raise ValueError(
                'the images must be files to be corrupted on the fly, got a data set that holds them in memory: take '
                'an image folder, or the published images with --benchmark cifar-10-c or cifar-100-c'
            )
        self.data_root = data_root or self._clean.root
        self.reference = None if reference is None else self._read_reference(reference)

    @property
    def identity(self) -> dict[str, Any]:
        source = ON_THE_FLY if self.corrupted_root is None else OFFICIAL
        return {'benchmark': self.name, 'corrupted': source, 'seed': self.seed, 'num_images': self._clean.size}

    @property
    def protocol(self) -> dict[str, Any]:
        cells = [cell.key for cell in self.cells if cell != CLEAN]
        shown = {'data_root': self.corrupted_root, 'normalised_by': self._normalised_by(), 'cells': cells}
        return shown if self.corrupted_root is not None else shown | {'image_size': self._clean.size_of_first()}

    def label_set(self, cell: Cell) -> tuple[Sequence[str], Sequence[int] | None]:
        """Those of the data, without looking at the disk."""
        published = self._is_published(cell)
        return (self.published_classes, None) if published else (self._clean.class_names, self._clean.subset)

    @property
    def data_set(self) -> str:
        """Name and split of the clean images; ImageNet's classes are ImageNet."""
        return 'ImageNet' if self._is_imagenet else super().data_set

    @property
    def images_sha256(self) -> dict[str, str]:
        """Of the clean images; of the official ones of each cell that are there, of one class: there are 4 million."""
        found = {CLEAN.key: self._clean.fingerprint}
        every = self.set.corruptions + self.set.extra
        for cell in select_cells('michaelis', every, None, every) if self.corrupted_root is not None else ():
            files = self.some_files(cell)
            if files:
                found[cell.key] = fingerprint((path.name, [str(path)]) for path in files)
        return found

    def some_files(self, cell: Cell) -> list[Path]:
        """Files of a cell of the official images that stand for all of them; none if they are not there."""
        folder = Path(self.corrupted_root, cell.name, str(cell.severity))
        names = sorted(folder.glob('[!.]*')) if folder.is_dir() else ()
        first = next((path for path in names if path.is_dir()), None)
        return [] if first is None else sorted(first.iterdir())

    def check(self, cell: Cell, counts: Predictions) -> None:
        """As in the base class; official images are only counted, because listing them takes long."""
        if not self._is_published(cell):
            super().check(cell, counts)
            return
        if len(counts.images) != self._clean.size:
            raise ValueError(f'it is of {len(counts.images)} images, and the clean ones are {self._clean.size}')
        require_classes(counts, range(len(self.published_classes)))

    def images(self, cell: Cell) -> LabelledImages:
        """The images of a cell: for corruptions on the fly, the clean ones."""
        if not self._is_published(cell):
            return self._clean
        images = LabelledImages.of_config(self.config, self.max_images, self.official(cell))
        if images.size != self._clean.size:
            raise ValueError(
                f'the test images of the config must be those that {self.set.title} was made of, got '
                f'{self._clean.size} clean ones and {images.size} of {cell.key}: take the whole test split'
            )
        return images

    def official(self, cell: Cell) -> dict:
        """Config of the official images of a cell, with the pipeline that they go through."""
        pipeline = list(self._clean.dataset['pipeline'])
        return dict(
            type='mmrobust.ImageNetVariant',
            variant=self.name,
            data_root=self.corrupted_root,
            corruption=cell.name,
            severity=cell.severity,
            expected_images=self.expected_images,
            pipeline=[pipeline[0], CROP, pipeline[-1]],
        )

    def corrupted(self, cell: Cell, dataset: dict) -> dict:
        """A config of a cell's images, with the corruption after the crop if it is made on the fly."""
        if cell == CLEAN or self.corrupted_root is not None:
            return dataset
        corrupt = dict(
            type='mmrobust.Corrupt',
            corruption=cell.name,
            severity=cell.severity,
            data_root=dataset.get('data_root'),
            seed=self.seed,
        )
        return dict(dataset, pipeline=[*dataset['pipeline'][:-1], corrupt, dataset['pipeline'][-1]])

    def require(self, cells: Sequence[Cell]) -> None:
        """Check that the folders of all these cells are there, before the first one runs.

        Raises:
            FileNotFoundError: a folder of the official images is missing; the sentence says which.
        """
        if self.corrupted_root is not None:
            check_cells(self.name, self.corrupted_root, [cell for cell in cells if cell != CLEAN])

    def size(self, cell: Cell) -> int:
        return self._clean.size

    def summarize(self, counts: Mapping[Cell, Predictions]) -> dict[str, Any]:
        results = summarize(counts, self._normalised_by(), self.reference, self.set.corruptions)
        if self.reference is not None:  # its config may be that of other weights too
            results['reference_sha256'] = self.reference['provenance'].get('checkpoint_sha256')
        return results

    @classmethod
    def layout(cls, results: Mapping, provenance: Mapping) -> Layout:
        """How they are shown; below them Table 3, labelled as published, beside CE of its protocol only."""
        by = results['normalised_by']
        inline = dict(better='lower', interval='inline')
        headline = (
            Column('clean_error', 'clean error', **inline),
            Column('mCE', 'mCE', **inline, same='normalised_by'),
            Column('relative_mCE', 'relative mCE', **inline, same='normalised_by'),
            Column('mean_error', 'mean error', **inline),
        )
        columns = (Column('CE', 'CE', 'lower'), Column('relative_CE', 'relative CE', 'lower'))
        corruptions = results['corruptions']
        tables = (
            Table('', 'run', headline),
            Table(
                'corruptions',
                'corruption',
                (Column('error', 'error', 'lower'), *columns),
                'By corruption',
                'Error is the mean over the severities that were run. CE needs all 5 of them and a network to be '
                'relative to.',
                'conditions',
                apart=tuple(name for name, row in corruptions.items() if row['extra']),
            ),
            severity_grid('error', 'clean_error', 'lower'),
        )
        every = len(cls.set.corruptions)
        count = sum(name in cls.set.corruptions for name in corruptions)
        ce = (
            f'CE is the error over that of {by}, both summed over severities; mCE is its mean over the {every} '
            'corruptions. '
        )
        about = (
            f'Top-1 error in percent; the mean error is over {count} of the {every} corruptions, each the mean over '
            f'its severities. {ce if by else ""}'
            f'Intervals: {INTERVAL_LEVEL:.0%}, Wilson for an error, bootstrap over images for means.'
        )
        sentences = (
            *cls.about_images(provenance),
            f'CE is relative to {by}.' if by else cls.why_no_network(provenance),
            *_why_no_number(results, every),
        )
        whole = all(Cell(*cell).key in results['cells'] for cell in cls.set.cells)
        protocol = ('corrupted', 'normalised_by', 'reference_sha256', 'num_images', 'seed')
        return Layout(
            cls.name,
            protocol_title(cls.set.title, 'ImageNet', provenance),
            'classification',
            about,
            tables,
            main='mean_error' if results['mCE'] is None else 'mCE',
            clean='clean_error',
            protocol=protocol,
            sentences=sentences,
            published=_published() if by == 'AlexNet' and provenance['corrupted'] == OFFICIAL and whole else None,
        )

    @classmethod
    def about_images(cls, provenance: Mapping) -> list[str]:
        """Where the corrupted images come from, and whether they are too small for the constants of ImageNet-C."""
        said = [SOURCES[provenance['corrupted']]]
        size = at(provenance, 'protocol', 'image_size')
        if size is not None and min(size) <= SMALL:
            said.append(
                f'These images are {size[1]} x {size[0]}: corrupted with the constants of ImageNet-C, which are for '
                '224 x 224, they are neither CIFAR-10-C, CIFAR-100-C nor Tiny-ImageNet-C, which have constants of '
                'their own; the benchmarks of these names read the published images.'
            )
        return said

    @classmethod
    def why_no_network(cls, provenance: Mapping) -> str:
        """Why there is no CE."""
        count = provenance['num_images']
        these = f'{count:,} others' if count >= IMAGENET_IMAGES else f'{count:,}'
        return (
            f"There is no CE: AlexNet's published errors are of all {IMAGENET_IMAGES:,} validation images of ImageNet, "
            f'and these are {these}; --reference takes the results.json of a network of your own on the same images.'
        )

    def _is_published(self, cell: Cell) -> bool:
        return self.corrupted_root is not None and cell != CLEAN

    def _normalised_by(self) -> str | None:
        if self.reference is not None:
            return self.reference['provenance']['config']
        return 'AlexNet' if self._is_imagenet and self._clean.size == IMAGENET_IMAGES else None

    @property
    def _is_imagenet(self) -> bool:
        return self._clean.class_names in (tuple(IMAGENET_CATEGORIES), tuple(WNIDS))

    def _read_reference(self, path: str) -> dict:
        if not Path(path).is_file():
            raise FileNotFoundError(f'There is no reference {path!r}: it is the results.json of a run of {self.name}.')
        try:
            content = read_json(path)
            found = content['provenance']
            content['results']['cells'], content['results']['clean_error'], found['config']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{path} is not the results.json of a run of {self.name}: {error!r}') from error
        if 'images_sha256' not in found:
            raise ValueError(f'the reference {path} does not say which images it is of: run it again with this version')
        own = {**self.identity, 'images_sha256': self.images_sha256}
        wrong = differences({key: found.get(key) for key in own}, own, '{} {}, here {}')
        if wrong:
            raise ValueError(f'the reference {path} is of another protocol ({"; ".join(wrong)})')
        return content


def _why_no_number(results: Mapping, number: int) -> Iterator[str]:
    """Explains a dash in the headline."""
    if results['mCE'] is None and results['normalised_by'] is None:
        yield 'A dash: there is no mCE without a network that CE is relative to.'
    elif results['mCE'] is None:
        yield f'A dash: there is no mCE, because not all {number} corruptions were run at all 5 severities.'
    if results['mean_error'] is None:
        yield f'A dash: there is no mean error, because none of the {number} corruptions was run.'


def _published() -> Published:
    models = paper_models('3', 'ce/', {'mCE': 'mce'})
    return Published(
        'paper, Table 3',
        'CE relative to AlexNet on the 50,000 official images of each cell.',
        'corruptions',
        'CE',
        ('mCE', 'mCE'),
        {
            model: {name: str(value) if name == 'mCE' else f'{value:.2f}' for name, value in rows.items()}
            for model, rows in models.items()
        },
    )


def summarize(
    counts: Mapping[Cell, Predictions],
    normalised_by: str | None,
    reference: dict | None = None,
    corruptions: Sequence[str] = ImageNetC.set.corruptions,
) -> dict[str, Any]:
    """All numbers of a finished run, in percent and unrounded.

    Args:
        counts: of each cell, the clean one first.
        normalised_by: name of the network that CE is relative to; None gives no CE.
        reference: content of its ``results.json``; None means AlexNet.
        corruptions: those that count; others are in no mean.

    Returns:
        A dict for JSON: ``clean_error``; ``mean_error`` over the corruptions of the benchmark, each the mean over its
        severities; ``mCE`` and ``relative_mCE`` where all of them were run at 5 severities and there is a network to
        divide by; error, CE and relative CE of each corruption, None where the reference makes no errors to divide by;
        bootstrap intervals over images, and the samples.
    """
    clean, corrupted = counts[CLEAN], {cell: of for cell, of in counts.items() if cell != CLEAN}
    cells = list(corrupted)
    errors = {cell: of.score for cell, of in corrupted.items()}
    draws = Bootstrap(clean.images)
    clean_samples, *drawn = error_samples(draws, [clean, *corrupted.values()])
    samples = dict(zip(cells, drawn, strict=True))
    by_corruption, sampled = mean_over_severities(errors), mean_over_severities(samples)
    benchmark = [name for name in by_corruption if name in corruptions]
    levels = {name: {cell.severity for cell in cells if cell.name == name} for name in by_corruption}
    whole = [name for name, found in levels.items() if len(found) == 5]  # CE is defined over all severities
    ce, relative, ce_samples, relative_samples = {}, {}, {}, {}
    if normalised_by is not None and whole:
        divisors = of_reference = None
        if reference is not None:
            of_reference, rows = reference['results']['clean_error'], reference['results']['cells']
            divisors = {Cell.of_key(name): cell['error'] for name, cell in rows.items()}
        ce, ce_samples = (corruption_errors(_dividable(of, whole, divisors, 0), divisors) for of in (errors, samples))
        relative, relative_samples = (
            relative_corruption_errors(_dividable(of, whole, divisors, of_reference), at_clean, divisors, of_reference)
            for of, at_clean in ((errors, clean.score), (samples, clean_samples))
        )
    summary: dict[str, Any] = {'clean_error': clean.score, 'clean_error_interval': clean.interval}
    summary |= {'mean_error': None, 'mCE': None, 'relative_mCE': None, 'normalised_by': normalised_by}
    bootstrap = {'clean_error': clean_samples}
    if benchmark:
        bootstrap['mean_error'] = np.mean([sampled[name] for name in benchmark], axis=0)
        summary['mean_error'] = float(np.mean([by_corruption[name] for name in benchmark]))
        summary['mean_error_interval'] = draws.interval(bootstrap['mean_error'])
    for key, values, of_values in (('mCE', ce, ce_samples), ('relative_mCE', relative, relative_samples)):
        of_benchmark = {name: value for name, value in values.items() if name in corruptions}
        if len(of_benchmark) == len(corruptions):
            summary[key] = float(benchmark_mean(of_benchmark, corruptions))
            bootstrap[key] = benchmark_mean({name: of_values[name] for name in of_benchmark}, corruptions)
            summary[f'{key}_interval'] = draws.interval(bootstrap[key])
    return summary | {
        'corruptions': {
            name: {
                'error': float(value),
                'CE': float(ce[name]) if name in ce else None,
                'relative_CE': float(relative[name]) if name in relative else None,
                'extra': name not in corruptions,
            }
            for name, value in by_corruption.items()
        },
        'cells': {cell.key: {'error': errors[cell], 'error_interval': corrupted[cell].interval} for cell in cells},
        'bootstrap': draws.record(**bootstrap, corruptions=sampled),
    }


def _dividable(
    values: dict[Cell, Any], whole: Sequence[str], divisors: dict[Cell, float] | None, floor: float | None
) -> dict[Cell, Any]:
    """Those of the corruptions on which the reference's error is above the floor: no other has a quotient."""
    found = {} if divisors is None else mean_over_severities(divisors)
    above = [name for name in whole if divisors is None or found.get(name, 0) > floor]
    return {cell: value for cell, value in values.items() if cell.name in above}
