"""Cityscapes-C: the test images of a config under common corruptions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.config import Config

from mmrobust.datasets.corrupted import labels_step
from mmrobust.datasets.transforms import Corrupt
from mmrobust.datasets.transforms.corrupt import region_of
from mmrobust.datasets.transforms.load_corrupted import check_pixels
from mmrobust.evaluation.benchmarks.base import protocol_title, severity_grid
from mmrobust.evaluation.benchmarks.presets import PRESETS, preset_groups, preset_of, select_cells
from mmrobust.evaluation.benchmarks.segmentation_base import (
    SegmentationBenchmark,
    area_samples,
    by_class,
    class_table,
)
from mmrobust.evaluation.benchmarks.segmentation_calibration import calibration_results, calibration_shown
from mmrobust.evaluation.cells import CLEAN, Cell
from mmrobust.evaluation.counts import Confusion, RegionalConfusion
from mmrobust.evaluation.images import LabelMapImages
from mmrobust.evaluation.paper_tables import paper_models
from mmrobust.evaluation.report import Column, Layout, Published, Table
from mmrobust.evaluation.statistics import (
    INTERVAL_LEVEL,
    Bootstrap,
    class_iou,
    mean_iou,
    mean_iou_of_areas,
    mean_over_corruptions,
    mean_over_severities,
    retention,
)
from mmrobust.registry import BENCHMARKS


@BENCHMARKS.register_module(name='cityscapes-c')
class CityscapesC(SegmentationBenchmark):
    """Which images each cell of Cityscapes-C has; over another data set, that data set's counterpart.

    Args:
        config: its ``test_dataloader`` names the data and the pipeline.
        preset: see :mod:`mmrobust.evaluation.benchmarks.presets`.
        corruptions: these instead of the preset's.
        severities: these instead of the preset's.
        seed: of the random corruptions.
        profile: channel order of the corruptions, see :class:`mmrobust.datasets.transforms.Corrupt`.
        corrupted_root: read the corrupted images from this copy; None corrupts them on the way to the model.
        region: corrupt this part of each image only, and count inside and outside apart: ``'x0,y0,x1,y1'`` in pixels
            of the images on the disk, or the name of a class (cf. arXiv 2504.01632); None corrupts the whole image.
        data_root: folder of the clean images; None takes the config's.
        max_images: take this many images, spread evenly; None takes all.
        calibration: also count the pixels by confidence.

    Raises:
        ValueError: the preset, a corruption, a severity or ``max_images`` is not allowed.
        FileNotFoundError: there are no data.
    """

    name = 'cityscapes-c'
    title: ClassVar[str] = 'Cityscapes-C'
    own: ClassVar[str] = 'Cityscapes val'
    options = {
        'preset': dict(choices=PRESETS, help='which cells (default: kamann)'),
        'corruptions': dict(
            nargs='+', metavar='NAME', help='names of corruptions (default: those of the preset or set)'
        ),
        'severities': dict(nargs='+', type=int, metavar='1-5', help="default: the preset's, or all 5"),
        'seed': dict(type=int, help='of the random corruptions, and of PGD (default: 0)'),
        'profile': dict(choices=['rgb', 'bgr'], help="bgr: the released code's order (default: rgb)"),
        'corrupted_root': dict(
            help='read a copy that tools/dataset_converters/cityscapes_c.py wrote (default: on the fly)'
        ),
        'region': dict(metavar='CLASS|x0,y0,x1,y1', help='corrupt this part only (default: the whole image)'),
        'calibration': dict(
            action='store_true',
            default=None,
            help='also ECE, reliability and what is gained by rejecting unsure pixels',
        ),
    }

    def __init__(
        self,
        config: Config,
        preset: str = 'kamann',
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] | None = None,
        seed: int = 0,
        profile: str = 'rgb',
        corrupted_root: str | None = None,
        region: str | None = None,
        data_root: str | None = None,
        max_images: int | None = None,
        calibration: bool = False,
    ) -> None:
        self.cells = [CLEAN, *select_cells(preset, corruptions, severities)]
        self.groups = preset_groups(preset)
        self.preset = preset_of(self.cells[1:])
        self.seed = seed
        self.profile = profile
        self.corrupted_root = corrupted_root
        self.calibration = calibration
        self.image_sets = dict.fromkeys(self.cells, LabelMapImages.of_config(config, max_images, data_root=data_root))
        self.region_name = region
        if region is not None:
            self.region = region_of(region, self.class_names)
            self.counts_type = RegionalConfusion
            if corrupted_root is not None:
                raise ValueError('region must be corrupted on the fly, got a copy of whole images by corrupted_root')
            if calibration:
                raise ValueError(
                    f'region must be None with calibration, which counts whole images, got {region!r}: leave one out'
                )

    @property
    def identity(self) -> dict[str, Any]:
        found = {'benchmark': self.name, 'seed': self.seed, 'profile': self.profile, 'num_images': self.size(CLEAN)}
        found |= {} if self.region_name is None else {'region': self.region_name}
        return found | ({'calibration': True} if self.calibration else {})

    @property
    def protocol(self) -> dict[str, Any]:
        source = self.corrupted_root or 'on the fly'
        cells = [cell.key for cell in self.cells if cell != CLEAN]
        return {'preset': self.preset, 'corrupted': source, 'cells': cells}

    def corrupted(self, cell: Cell, dataset: dict) -> dict:
        if cell == CLEAN:
            return dataset
        return dict(
            type='mmrobust.CorruptedDataset',
            dataset=dataset,
            corruption=cell.name,
            severity=cell.severity,
            seed=self.seed,
            profile=self.profile,
            corrupted_root=self.corrupted_root,
            region=self.region,
            # of all steps: where an image is only shown, the pipeline ends with its loading
            load_labels=labels_step(self.images(CLEAN).dataset['pipeline']),
        )

    def require(self, cells: Sequence[Cell]) -> None:
        """Check that a copy was made of these images.

        Raises:
            ValueError: it is of others.
        """
        if self.corrupted_root is not None:
            how = dict(data_root=self.data_root, seed=self.seed, profile=self.profile)
            paths = [str(Path(self.data_root or '', name)) for name in self.images(CLEAN).names]
            corrupts = [Corrupt(cell.name, cell.severity, **how) for cell in cells if cell != CLEAN]
            check_pixels(self.corrupted_root, [(corrupt, path) for corrupt in corrupts for path in paths])

    def summarize(self, counts: Mapping[Cell, Confusion]) -> dict[str, Any]:
        found = summarize(counts, self.groups, self.class_names)
        return found if self.region is None else found | {'regions': _by_region(counts)}

    @classmethod
    def layout(cls, results: Mapping, provenance: Mapping) -> Layout:
        """How they are shown; below them the paper's Table IV, labelled as published, where its cells were run."""
        miou, count = Column('mIoU', 'mIoU'), len(results['corruptions'])
        levels = sorted({cell.severity for cell in map(Cell.of_key, results['cells'])})
        single = f'At severity {levels[0]}.' if len(levels) == 1 else ''
        ungrouped = results['ungrouped']
        none = f'; {", ".join(ungrouped)} in none' if ungrouped else ''
        shown = {'clean_mIoU': 'clean', 'mPC': 'mPC', 'retention': 'retention'}
        headline = tuple(Column(key, title, interval='inline') for key, title in shown.items())
        calibration, curves = calibration_shown(results, 'corruption')
        tables = (
            Table('', 'run', headline),
            Table('groups', 'group', (miou,), 'By group', f'Mean over the corruptions of a kind that were run{none}.'),
            Table(
                'corruptions',
                'corruption',
                (miou,),
                'By corruption',
                single or 'Mean over the severities that were run.',
                'conditions',
                ratio='CD',
            ),
            severity_grid('mIoU', 'clean_mIoU'),
            Table('severities', 'severity', (miou,), 'By severity', 'Mean of the cells of a severity.', 'severities'),
            class_table(
                results,
                {'clean': 'clean IoU', 'corrupted': 'mean corrupted IoU'},
                f'IoU on clean images, and its mean over the {len(results["cells"])} corrupted cells.',
                'not in the labels',
            ),
            *calibration,
        )
        region = provenance.get('region')
        if region is not None:
            columns = (Column('inside', 'mIoU inside'), Column('outside', 'mIoU outside'))
            said = 'Mean over severities, of the pixels inside and outside of the region, each over its own labels.'
            tables += (Table('regions', 'corruption', columns, 'Inside and outside of the region', said),)
        about = (
            f'mIoU in percent. mPC is the mean over the {count} corruptions that were run, '
            f'{single[:-1].lower() or "each the mean over its severities"}; retention is mPC over clean. '
            'All are over the classes that the labels of these images have. '
            f'Intervals: {INTERVAL_LEVEL:.0%}, bootstrap over images.'
        )
        published = None
        if is_table_iv(results) and region is None:
            models = paper_models('IV', 'cityscapes-c/', {'mean': 'cityscapes-c'})
            published = Published(
                'paper, Table IV',
                'mIoU on the 500 validation images of Cityscapes.',
                'corruptions',
                'mIoU',
                ('mPC', 'mean'),
                {model: {name: str(value) for name, value in rows.items()} for model, rows in models.items()},
            )
        protocol = ('num_images', 'seed', 'profile', 'region')
        sentences = () if region is None else (f'Only the region {region} of each image is corrupted.',)
        return Layout(
            cls.name,
            protocol_title(cls.title, cls.own, provenance),
            'segmentation',
            about,
            tables,
            main='mPC',
            clean='clean_mIoU',
            protocol=protocol,
            sentences=sentences,
            published=published,
            curves=curves,
        )


def is_table_iv(results: Mapping) -> bool:
    """Whether the cells of a run are those of the paper's Table IV, so that its figures may stand beside these."""
    return set(results['cells']) == {cell.key for cell in select_cells('kamann')}


def summarize(
    counts: Mapping[Cell, Confusion], groups: Mapping[str, tuple[str, ...]], class_names: Sequence[str]
) -> dict[str, Any]:
    """All numbers of a finished run, in percent and unrounded.

    Args:
        counts: of each cell, the clean one first.
        groups: corruptions by kind.
        class_names: K names.

    Returns:
        A dict for JSON: ``clean_mIoU``, ``mPC``, ``retention``, mIoU of each group, corruption, severity and cell, the
        corruptions of no group, and the IoU of each class; bootstrap intervals over images of the first three and of
        each cell; calibration, if it was counted; and bootstrap
        samples, from which another run on the same images gets the interval of a difference.
    """
    clean, corrupted = counts[CLEAN], {cell: of for cell, of in counts.items() if cell != CLEAN}
    # one set of classes for all cells: else one that is predicted under a corruption only would change what is averaged
    labelled = clean.labelled
    miou = {cell: mean_iou(of.confusion, labelled) for cell, of in corrupted.items()}
    bootstrap = Bootstrap(clean.images)
    interval = bootstrap.interval
    areas = area_samples(bootstrap, [clean, *corrupted.values()])[..., labelled]
    clean_samples, *drawn = mean_iou_of_areas(areas).T
    samples = dict(zip(corrupted, drawn, strict=True))
    by_corruption, sampled = mean_over_severities(miou), mean_over_severities(samples)
    clean_miou, mpc = mean_iou(clean.confusion, labelled), mean_over_corruptions(by_corruption)
    mpc_samples = mean_over_corruptions(sampled)
    draws = {
        'clean_mIoU': clean_samples,
        'mPC': mpc_samples,
        'retention': 100 * mpc_samples / np.where(clean_samples, clean_samples, np.nan),
    }
    shown_groups = {
        group: [by_corruption[name] for name in names if name in by_corruption] for group, names in groups.items()
    }
    severities = sorted({cell.severity for cell in corrupted})
    parts = {cell.name: [of for other, of in counts.items() if other.name == cell.name] for cell in counts}
    mean_class_iou = _nanmean(np.stack([class_iou(of.confusion) for of in corrupted.values()]), labelled)
    return {
        'clean_mIoU': clean_miou,
        'clean_mIoU_interval': interval(clean_samples),
        'mPC': mpc,
        'mPC_interval': interval(mpc_samples),
        'retention': retention(mpc, clean_miou),
        'retention_interval': interval(draws['retention']),
        'groups': {group: float(np.mean(values)) for group, values in shown_groups.items() if values},
        'ungrouped': [name for name in by_corruption if all(name not in names for names in groups.values())],
        'corruptions': by_corruption,
        'severities': {
            str(level): float(np.mean([value for cell, value in miou.items() if cell.severity == level]))
            for level in severities
        },
        'cells': {cell.key: {'mIoU': miou[cell], 'mIoU_interval': interval(samples[cell])} for cell in corrupted},
        'classes': by_class(class_names, {'clean': clean.ious, 'corrupted': mean_class_iou}),
        **calibration_results(parts, labelled),
        'bootstrap': bootstrap.record(**draws, corruptions=sampled),
    }


def _by_region(counts: Mapping[Cell, RegionalConfusion]) -> dict[str, dict[str, float]]:
    """mIoU in percent inside and outside of the region: of clean images, mPC, and of each corruption.

    Classes are those that the labels have there, the same for all cells.
    """
    rows: dict[str, dict[str, float]] = {}
    for part in ('inside', 'outside'):
        found = {cell: getattr(of, part).confusion for cell, of in counts.items()}
        labelled = found[CLEAN].any(axis=1)
        miou = {cell: mean_iou(of, labelled) for cell, of in found.items()}
        by_corruption = mean_over_severities({cell: value for cell, value in miou.items() if cell != CLEAN})
        shown = {'clean': miou[CLEAN], 'mPC': mean_over_corruptions(by_corruption), **by_corruption}
        for name, value in shown.items():
            rows.setdefault(name, {})[part] = float(value)
    return rows


def _nanmean(ious: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Mean over cells of the IoU of each class ``(cells, K)``; NaN for a class that is in no label."""
    return np.array([np.nanmean(of) if there else np.nan for of, there in zip(ious.T, labelled, strict=True)])
