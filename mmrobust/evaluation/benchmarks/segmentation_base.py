"""Shared by the benchmarks of segmentation models: running cells, bootstrap samples, the worst images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from mmrobust.datasets.corrupted import position_of_loading
from mmrobust.datasets.transforms.corrupt import Region, region_mask
from mmrobust.evaluation.benchmarks.base import Benchmark
from mmrobust.evaluation.cells import CLEAN, Cell
from mmrobust.evaluation.counts import Confidences, Confusion, RegionalConfusion
from mmrobust.evaluation.images import require_names
from mmrobust.evaluation.models.segmentation import SegmentationModel
from mmrobust.evaluation.report import Column, Table
from mmrobust.evaluation.statistics import Bootstrap, confidence_counts, confusion_matrix, mean_iou
from mmrobust.evaluation.worst import find_worst, those_of, write_panels
from mmrobust.files import write_whole


class SegmentationBenchmark(Benchmark):
    """Runs a cell of images with label maps; a subclass says which, and what the numbers mean.

    Attributes:
        predictions: folder for one PNG of classes per image, under the image's own file name; None writes none.
        region: part of each image whose pixels are counted apart; None counts no part apart.
        calibration: also count the pixels by confidence.
    """

    measure = 'mIoU'
    model_type = SegmentationModel
    counts_type = Confusion
    predictions: Path | None = None
    region: Region | None = None
    calibration: bool = False

    def score(self, counts: Confusion) -> float | None:
        """mIoU over the classes of the labels."""
        return mean_iou(counts.confusion, counts.labelled) if counts.labelled.any() else None

    def check(self, cell: Cell, counts: Confusion) -> None:
        images = self.images(cell)
        if len(counts.confusion) != len(images.class_names):
            raise ValueError(f'it has {len(counts.confusion)} classes, and the data {len(images.class_names)}')
        require_names(counts.images, images.names)
        if (counts.confidences is None) == self.calibration:
            raise ValueError('it must have pixels by confidence with --calibration, and only then')

    def run(self, model: SegmentationModel, cell: Cell, on_image: Callable[[], None] = lambda: None) -> Confusion:
        """Predict all images of a cell and count; an image without a label counts nothing.

        Raises:
            ValueError: an image or a label is broken or does not fit the model, or nothing is labelled in any image.
            OSError: a prediction cannot be written.
        """
        images = self.images(cell)
        num_classes = len(images.class_names)
        matrices, inside, by_confidence, areas = {}, {}, {}, 0
        predictions = model.predict(self.corrupted(cell, images.dataset), self.attack(cell), self.calibration)
        for path, classes, label, levels in predictions:
            judged = np.full(classes.shape, images.ignore_index) if label is None else label
            matrices[images.name(path)] = confusion_matrix(judged, classes, num_classes, images.ignore_index)
            if self.region is not None:
                part = np.where(region_mask(self.region, judged.shape, judged, path), judged, images.ignore_index)
                inside[images.name(path)] = confusion_matrix(part, classes, num_classes, images.ignore_index)
            if levels is not None:
                counts = confidence_counts(levels, judged, classes, num_classes, images.ignore_index)
                by_confidence[images.name(path)] = counts[0]
                areas += counts[1]
            if self.predictions is not None:
                png = cv2.imencode('.png', classes.astype(np.uint8))[1]
                write_whole(self.predictions / Path(path).with_suffix('.png').name, png.tobytes())
            on_image()
        assert list(matrices) == images.names, 'every image must be counted once'
        found = Confusion.of_matrices(matrices, Confidences(by_confidence, areas) if self.calibration else None)
        if self.scored and found.score is None:
            raise ValueError(
                f'no pixel is labelled in the {len(matrices)} images of {cell.key} in {images.root}: every label is '
                f'{images.ignore_index}, which belongs to no class, or there is none'
            )
        if self.region is None:
            return found
        regional = RegionalConfusion(found.confusion, found.images, inside=Confusion.of_matrices(inside))
        if regional.inside.score is None or regional.outside.score is None:
            raise ValueError(f'both inside and outside of the region {self.region} must be labelled pixels, got none')
        return regional

    def is_finished(self, cell: Cell) -> bool:
        """Whether its predictions are there, if they are wanted."""
        names = self.images(cell).names if self.predictions is not None else ()
        return all((self.predictions / Path(name).name).is_file() for name in names)

    def show_worst(
        self,
        model: SegmentationModel,
        counts: Mapping[Cell, Confusion],
        count: int,
        out: Path,
        of: Sequence[Mapping] | None = None,
    ) -> list:
        """As in the base class; the clean images are not ranked."""
        ranked = {cell: found for cell, found in counts.items() if cell != CLEAN}
        found = find_worst(ranked, count) if of is None else those_of(of[:count], ranked)
        for index, one in enumerate(found):
            images, label_maps = self.panels(model, one.cell, one.image)
            write_panels(out / 'worst', index, images, label_maps, self.palette)
        return [{'image': one.image, 'cell': one.cell.key, 'mIoU': one.miou} for one in found]

    def panels(
        self, model: SegmentationModel, cell: Cell, image: str
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Panels of one image.

        Returns:
            Images ``(H, W, 3)`` uint8, BGR: ``clean`` and ``corrupted`` or ``attacked``, or ``image`` where nothing
            was added to it; and label maps ``(H, W)``: ``truth`` and ``prediction``.
        """
        dataset, attack, attacked = self.images(cell).only(image), self.attack(cell), []

        def keep(*given: Any) -> Tensor:
            attacked.append(attack(*given))
            return attacked[0]

        _, classes, label, _ = next(model.predict(self.corrupted(cell, dataset), attack and keep))
        pipeline = dataset['pipeline']
        loading = dataset | {'pipeline': pipeline[: position_of_loading(pipeline) + 1]}
        shown = {'image': cell}
        if cell.severity or attacked:
            shown = {'clean': CLEAN, **({'corrupted': cell} if cell.severity else {})}
        images = {kind: model.build_dataset(self.corrupted(of, loading))[0]['img'] for kind, of in shown.items()}
        if attacked:  # in the size in which the model gets it
            images['attacked'] = np.ascontiguousarray((255 * attacked[0][0]).round().byte().permute(1, 2, 0).cpu())
        return images, {'truth': label, 'prediction': classes}


def area_samples(draws: Bootstrap, counts: Sequence[Confusion]) -> np.ndarray:
    """Bootstrap samples of the areas of several cells on the same images, ``(S, R, 3, K)``.

    All of them at once, because the draws are what takes time; sample s holds the same images for each.
    """
    return draws.sums(np.stack([[of.images[name] for of in counts] for name in draws.names]))


#: mIoU with its interval, in a column of its own and in CSV.
MIOU = Column('mIoU', 'mIoU', interval='column', csv=('mIoU', 'mIoU_low', 'mIoU_high'))


def class_table(results: Mapping, columns: Mapping[str, str], about: str, dash: str) -> Table:
    """The table of :func:`by_class`.

    Args:
        results: of a run, the IoU of each class among them.
        columns: key of a column to its title.
        about: what the numbers are.
        dash: what it says of a class if there is no number, where any lacks one.
    """
    dashes = any(None in row.values() for row in results['classes'].values())
    shown = tuple(Column(key, title) for key, title in columns.items())
    return Table('classes', 'class', shown, 'By class', about + f' A dash: the class is {dash}.' * dashes, 'classes')


def number(value: float) -> float | None:
    """A number for JSON, None for NaN."""
    return None if np.isnan(value) else float(value)


def by_class(class_names: Iterable[str], ious: Mapping[str, np.ndarray]) -> dict[str, dict[str, float | None]]:
    """Class to column to IoU, from the IoU of each class ``(K,)`` by column."""
    return {
        label: {name: number(values[index]) for name, values in ious.items()} for index, label in enumerate(class_names)
    }
