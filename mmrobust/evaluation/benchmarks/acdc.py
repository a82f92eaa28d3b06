"""ACDC: real fog, night, rain and snow, for models trained on Cityscapes."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmrobust.datasets.acdc import CONDITIONS, conditions_known
from mmrobust.datasets.labels import without_labels
from mmrobust.evaluation.benchmarks.base import protocol_title
from mmrobust.evaluation.benchmarks.segmentation_base import (
    MIOU,
    SegmentationBenchmark,
    area_samples,
    by_class,
    class_table,
)
from mmrobust.evaluation.benchmarks.segmentation_calibration import calibration_results, calibration_shown
from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.counts import Confusion
from mmrobust.evaluation.images import LabelMapImages
from mmrobust.evaluation.report import Column, Layout, Table, at
from mmrobust.evaluation.statistics import INTERVAL_LEVEL, Bootstrap, class_iou, mean_iou, mean_iou_of_areas
from mmrobust.evaluation.submission import SERVERS, write_submission
from mmrobust.registry import BENCHMARKS

POOLED = 'pooled'


@BENCHMARKS.register_module(name='acdc')
class ACDC(SegmentationBenchmark):
    """Which images each condition of ACDC (Sakaridis et al., ICCV 2021) has; a cell is a condition.

    Images go through the config's own test pipeline, as in the paper's protocol: there a 1920 x 1080 image is resized
    to 1820 x 1024, and the prediction back.

    Args:
        config: its ``test_dataloader`` has the pipeline.
        data_root: folder of ACDC, see :class:`mmrobust.datasets.ACDCDataset`.
        split: ``'val'`` or ``'train'``; ``'test'`` has no labels, so there are predictions and no numbers.
        conditions: some of fog, night, rain and snow.
        max_images: take this many images of each condition, spread evenly; None takes all.
        submission: also write predictions for the server into this zip; None writes none, except that for ``'test'``
            it is ``acdc_test.zip`` in the results folder.
        calibration: also count the pixels by confidence; not for ``'test'``.

    Raises:
        ValueError: the split, a condition or ``max_images`` is not allowed, or calibration is asked of ``'test'``.
        FileNotFoundError: there are no data.
    """

    name = 'acdc'
    options = {
        'split': dict(choices=['train', 'val', 'test'], help='test: only predictions (default: val)'),
        'conditions': dict(nargs='+', choices=CONDITIONS, help='default: all'),
        'submission': dict(
            metavar='ZIP', help='also write predictions for the server (default for test: OUT/acdc_test.zip)'
        ),
        'calibration': {},
    }

    def __init__(
        self,
        config: Config,
        data_root: str = 'data/acdc',
        split: str = 'val',
        conditions: Sequence[str] = CONDITIONS,
        max_images: int | None = None,
        submission: str | Path | None = None,
        calibration: bool = False,
    ) -> None:
        if calibration and split == 'test':
            raise ValueError('calibration needs labels, and split test has none: take val, or leave calibration out')
        pipeline = copy.deepcopy(config.test_dataloader.dataset.pipeline)
        if split == 'test':
            pipeline = without_labels(pipeline)
        dataset = dict(type='mmrobust.ACDCDataset', data_root=data_root, split=split, pipeline=pipeline)
        parts = {Cell(condition): [condition] for condition in conditions}
        if not conditions_known(data_root, split):
            parts = {Cell('all'): list(conditions)}  # the folders merge them: one number is all that can be said
        self.split = split
        self.submission = submission
        self.calibration = calibration
        self.image_sets = {
            cell: LabelMapImages.of_config(config, max_images, dataset | dict(conditions=part))
            for cell, part in parts.items()
        }
        self.cells = list(self.image_sets)

    @property
    def identity(self) -> dict[str, Any]:
        num_images = sum(images.size for images in self.image_sets.values())
        found = {'benchmark': self.name, 'split': self.split, 'num_images': num_images}
        return found | ({'calibration': True} if self.calibration else {})

    @property
    def scored(self) -> bool:
        """The test split has no labels."""
        return self.split != 'test'

    def score(self, counts: Confusion) -> float | None:
        """mIoU over the classes of labels or predictions, as in the results."""
        return counts.score

    def begin(self, out: Path) -> None:
        """Have predictions written if they are for the server."""
        if self.submission is None and not self.scored:
            self.submission = out / 'acdc_test.zip'
        if self.submission is not None:
            self.predictions = out / SERVERS['acdc'].folder

    def finish(self) -> list[str]:
        """Pack the predictions for the server."""
        if self.submission is None:
            return []
        names = [Path(name).name for cell in self.cells for name in self.images(cell).names]
        return write_submission({name: self.predictions / name for name in names}, self.submission, SERVERS['acdc'])

    def summarize(self, counts: Mapping[Cell, Confusion]) -> dict[str, Any]:
        return summarize(counts, self.class_names)

    @classmethod
    def layout(cls, results: Mapping, provenance: Mapping) -> Layout:
        names = list(results['conditions'])
        headline = (
            *(Column(f'conditions/{name}/mIoU', name) for name in names),
            Column('mean_mIoU', 'mean'),
            Column('pooled_mIoU', POOLED),
        )
        calibration, curves = calibration_shown(results, 'condition')
        tables = (
            Table('', 'run', headline),
            Table(
                'conditions',
                'condition',
                (MIOU,),
                'By condition',
                role='conditions',
                after=((POOLED, 'pooled_mIoU'),),
                csv_row=('condition',),
            ),
            class_table(
                results,
                {name: name for name in (*names, POOLED)},
                'IoU. 0 may also be a class that is predicted and in no label.',
                'in neither the labels nor the predictions of these images',
            ),
            *calibration,
        )
        several = (
            f'The mean is that of the {len(names)} conditions; pooled is the mIoU of all images together, which is '
            'another number, and the one that the ACDC server calls all. '
        )
        about = (
            'mIoU in percent, over the classes that labels or predictions have. '
            + several * (len(names) > 1)
            + f'Intervals: {INTERVAL_LEVEL:.0%}, bootstrap over sequences, whose frames resemble each other.'
        )
        split, count, trained = (provenance[name] for name in ('split', 'num_images', 'trained_on'))
        title = protocol_title('ACDC', 'ACDC', provenance)
        title = f'ACDC {split}' if title == 'ACDC' else title
        data = at(provenance, 'protocol', 'data_set') or 'ACDC'
        sentences = (
            f'Split: {split}, {count} images of {data}. The model was trained on: {trained}.',
            *(['These images were not told apart by condition.'] if names == ['all'] else []),
        )
        protocol = ('split', 'num_images')
        return Layout(
            cls.name,
            title,
            'segmentation',
            about,
            tables,
            main='pooled_mIoU',
            protocol=protocol,
            sentences=sentences,
            curves=curves,
        )


def sequence_of(image: str) -> str:
    """Name of the drive that an image is a frame of: ``GOPR0475`` of ``.../GOPR0475_frame_000041_rgb_anon.png``."""
    return Path(image).name.partition('_frame_')[0]


def summarize(counts: Mapping[Cell, Confusion], class_names: Sequence[str]) -> dict[str, Any]:
    """All numbers of a finished run, in percent and unrounded.

    Args:
        counts: of each condition.
        class_names: K names.

    Returns:
        A dict for JSON: mIoU of each condition, the mean of these, the mIoU of all images pooled (what the ACDC
        server calls all), bootstrap intervals over sequences, IoU of each class by condition and pooled, calibration,
        if it was counted, and samples.
    """
    found = {cell.key: of for cell, of in counts.items()}
    draws = {name: Bootstrap(of.images, sequence_of) for name, of in found.items()}
    areas = {name: area_samples(draws[name], [of])[:, 0] for name, of in found.items()}
    samples = {name: mean_iou_of_areas(of) for name, of in areas.items()}
    pooled = sum(of.confusion for of in found.values())
    pooled_samples = mean_iou_of_areas(sum(areas.values()))
    of_all = Bootstrap([name for of in found.values() for name in of.images], sequence_of)
    conditions = {
        name: {'mIoU': mean_iou(of.confusion), 'mIoU_interval': draws[name].interval(samples[name])}
        for name, of in found.items()
    }
    parts = {name: [of] for name, of in found.items()} | {POOLED: list(found.values())}
    ious = {name: class_iou(of.confusion) for name, of in found.items()} | {POOLED: class_iou(pooled)}
    return {
        'conditions': conditions,
        'mean_mIoU': float(np.mean([row['mIoU'] for row in conditions.values()])),
        'pooled_mIoU': mean_iou(pooled),
        'pooled_mIoU_interval': of_all.interval(pooled_samples),
        'classes': by_class(class_names, ious),
        **calibration_results(parts, unit_of=sequence_of),
        'bootstrap': of_all.record(pooled_mIoU=pooled_samples, conditions=samples),
    }
