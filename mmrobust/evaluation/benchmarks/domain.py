"""Domain shift: data sets of other streets, weathers and cameras, for models with the 19 classes of Cityscapes."""

import dataclasses
import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmrobust.datasets.domains import CLASSES, Domain, cell_names, choose_domains, shipped_domains
from mmrobust.datasets.titles import data_title
from mmrobust.evaluation.benchmarks.segmentation_base import (
    MIOU,
    SegmentationBenchmark,
    area_samples,
    by_class,
    class_table,
)
from mmrobust.evaluation.cells import CLEAN, Cell
from mmrobust.evaluation.counts import Confusion
from mmrobust.evaluation.images import LabelMapImages
from mmrobust.evaluation.report import Column, Layout, Table
from mmrobust.evaluation.statistics import (
    INTERVAL_LEVEL,
    Bootstrap,
    interval,
    mean_iou,
    mean_iou_of_areas,
    retention,
)
from mmrobust.registry import BENCHMARKS


@BENCHMARKS.register_module(name='domain')
class DomainShift(SegmentationBenchmark):
    """Which images each data set has; a cell is a data set, or one of its conditions.

    Images go through the config's own test pipeline.

    Args:
        config: its ``test_dataloader`` has the pipeline, and with ``clean`` the images.
        datasets: names of ``mmrobust/datasets/domains.yml``, and YAML files of one's own in that form, each of which
            stands for all that is in it.
        data_root: folder with a folder for each, as their entries call it.
        clean: also run the config's own test images, which retention is relative to.
        max_images: take this many images of each cell, spread evenly; None takes all.

    Raises:
        ValueError: there is no such data set, a file or ``max_images`` is wrong, labels hold other ids than the entry
            says, or ``clean`` images have other classes.
        FileNotFoundError: there are no data, or no such file.
    """

    name = 'domain'
    options = {
        'datasets': dict(
            nargs='+', metavar='NAME', help=f'some of {", ".join(shipped_domains())}, or YAML files of your own'
        ),
        'clean': dict(
            action='store_true', default=None, help="also run the config's own test images, for retention (default: no)"
        ),
    }

    def __init__(
        self,
        config: Config,
        datasets: Sequence[str | Path] = (),
        data_root: str = 'data',
        clean: bool = False,
        max_images: int | None = None,
    ) -> None:
        if isinstance(datasets, str | Path) or not datasets:
            raise ValueError(
                f'datasets must be a list of some of {", ".join(shipped_domains())}, or of YAML files, got {datasets!r}'
            )
        self.domains = choose_domains(datasets)
        self.data_root = data_root
        self.data_set = ' + '.join(f'{domain.title} {domain.split}'.strip() for domain in self.domains)
        self.image_sets = {CLEAN: LabelMapImages.of_config(config, max_images)} if clean else {}
        if clean and self.image_sets[CLEAN].class_names != CLASSES:
            found = ', '.join(self.image_sets[CLEAN].class_names[:4])
            raise ValueError(
                f"clean must be images with the 19 classes of Cityscapes, but the config's have {found}, ..."
            )
        for domain in self.domains:
            for name, condition in cell_names(domain).items():
                dataset = dict(
                    type='mmrobust.DomainDataset',
                    domain=dataclasses.asdict(domain),
                    data_root=osp.join(data_root, domain.root),
                    condition=condition,
                    pipeline=config.test_dataloader.dataset.pipeline,
                )
                self.image_sets[Cell(name)] = LabelMapImages.of_config(config, max_images, dataset)
        self.cells = list(self.image_sets)

    @property
    def identity(self) -> dict[str, Any]:
        """Settings of the benchmark that determine the numbers: among them what the label files mean."""
        ids = {domain.name: {**domain.ids} or 'trainIds' for domain in self.domains}
        num_images = {cell.key: self.size(cell) for cell in self.cells}
        return {'benchmark': self.name, 'ids': ids, 'num_images': num_images}

    def summarize(self, counts: Mapping[Cell, Confusion]) -> dict[str, Any]:
        title = {'clean_data': data_title(self.images(CLEAN).dataset)} if CLEAN in counts else {}
        return title | summarize({cell.key: of for cell, of in counts.items()}, self.domains)

    @classmethod
    def layout(cls, results: Mapping, provenance: Mapping) -> Layout:
        names, clean = list(results['datasets']), 'clean_mIoU' in results
        columns = (
            MIOU,
            *([Column('retention', 'retention', csv=('retention',))] if clean else []),
            Column('num_classes', 'classes', better='', decimals=0, csv=('num_classes',)),
            Column('num_images', 'images', better='', decimals=0, csv=('num_images',)),
        )
        headline = {'clean_mIoU': 'clean'} if clean else {}
        headline |= {f'datasets/{name}/mIoU': name for name in names} | {'mean_mIoU': 'mean'}
        conditions = set(results['cells']) != set(names)
        tables = (
            Table('', 'run', tuple(Column(key, title, interval='inline') for key, title in headline.items())),
            Table(
                'datasets',
                'data set',
                columns,
                'By data set',
                'Of a data set with conditions, all its images together.' * conditions,
                role='conditions',
                csv_row=() if conditions else ('data set',),
            ),
            *([Table('cells', 'condition', columns, 'By condition', csv_row=('condition',))] if conditions else []),
            class_table(
                results,
                {name: name for name in (*(['clean'] if clean else []), *names)},
                'IoU.',
                'in no label of these images, and in no mean',
            ),
        )
        about = (
            'mIoU in percent, of each data set over the classes that its labels have. The mean is that of the data '
            'sets, each of which counts alike. '
            + 'Retention is mIoU over clean mIoU, both over the classes that both have. '
            * clean
            + f'Intervals: {INTERVAL_LEVEL:.0%}, bootstrap over sequences where names tell them, else over images; '
            'there is none where all images are of one sequence.'
        )
        return Layout(
            cls.name,
            'Domain shift',
            'segmentation',
            about,
            tables,
            main='mean_mIoU',
            clean='clean_mIoU' if clean else '',
            protocol=('num_images',),
            sentences=tuple(_sentences(results, provenance)),
        )


def summarize(counts: Mapping[str, Confusion], domains: Sequence[Domain]) -> dict[str, Any]:
    """All numbers of a finished run, in percent and unrounded.

    Args:
        counts: of each cell, the clean one among them if it was run.
        domains: the data sets.

    Returns:
        A dict for JSON: of each data set and each cell mIoU over the classes in the labels, its bootstrap interval, how
        many classes and images, and retention if there are clean images; the mean over data sets; IoU of each class.
    """
    clean = counts.get(CLEAN.key)
    datasets, cells, ious = {}, {}, {}
    if clean is not None:
        ious['clean'] = clean.ious
    for domain in domains:
        parts = {name: counts[name] for name in cell_names(domain)}
        whole = Confusion(
            sum(of.confusion for of in parts.values()),
            {image: areas for of in parts.values() for image, areas in of.images.items()},
        )
        datasets[domain.name] = _row(whole, domain, clean) | {'expected_images': domain.images, 'title': domain.title}
        cells |= {name: _row(of, domain, clean) for name, of in parts.items()}
        ious[domain.name] = whole.ious
    mean = float(np.mean([row['mIoU'] for row in datasets.values()]))
    samples = np.mean([_drawn(row) for row in datasets.values()], axis=0)
    units = min(row['bootstrap']['units'] for row in datasets.values())
    named = (f'{of.name}/{image}' for of in domains for name in cell_names(of) for image in counts[name].images)
    record = Bootstrap(named).record(mean_mIoU=samples) | {'units': units}
    found = {'mean_mIoU': mean, 'mean_mIoU_interval': interval(samples, units)}
    if clean is not None:
        found |= {f'clean_{name}': value for name, value in _miou(clean, Bootstrap(clean.images))[0].items()}
    return {
        **found,
        'datasets': datasets,
        'cells': cells,
        'classes': by_class(CLASSES, ious),
        'bootstrap': record,
    }


def _row(counts: Confusion, domain: Domain, clean: Confusion | None) -> dict[str, Any]:
    draws = Bootstrap(counts.images, domain.unit_of)
    row, samples = _miou(counts, draws)
    row |= {'num_classes': int(counts.labelled.sum()), 'num_images': len(counts.images)}
    row['bootstrap'] = draws.record(mIoU=samples)
    if clean is not None:
        shared = counts.labelled & clean.labelled
        both = shared.any()
        row['retention'] = retention(*(mean_iou(of.confusion, shared) for of in (counts, clean))) if both else None
    return row


def _miou(counts: Confusion, draws: Bootstrap) -> tuple[dict[str, Any], np.ndarray]:
    """mIoU over the classes in the labels with its interval, and its bootstrap samples."""
    samples = mean_iou_of_areas(area_samples(draws, [counts])[:, 0][..., counts.labelled])
    return {'mIoU': mean_iou(counts.confusion, counts.labelled), 'mIoU_interval': draws.interval(samples)}, samples


def _drawn(row: Mapping[str, Any]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in row['bootstrap']['mIoU']])


def _sentences(results: Mapping, provenance: Mapping) -> Iterator[str]:
    """What else to know: subsets, what the model was trained on."""
    for name, row in results['datasets'].items():
        found, expected = row['num_images'], row['expected_images']
        if expected is not None and found != expected:
            what = 'a subset' if found < expected else 'more than its entry says'
            yield f'{name}: {found:,} images, and {row["title"]} has {expected:,}; these are {what}.'
    if results.get('clean_data'):
        yield f'The clean images are {results["clean_data"]}.'
    yield f'The model was trained on: {provenance["trained_on"]}.'
