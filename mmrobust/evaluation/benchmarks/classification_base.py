"""Shared by the benchmarks of classifiers: running cells, error tables."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmrobust.classes import check_classes
from mmrobust.evaluation.benchmarks.base import Benchmark
from mmrobust.evaluation.cells import Cell
from mmrobust.evaluation.counts import Predictions
from mmrobust.evaluation.images import require_names
from mmrobust.evaluation.models.classification import ClassificationModel
from mmrobust.evaluation.report import Column, Layout, Table
from mmrobust.evaluation.statistics import INTERVAL_LEVEL, Bootstrap

IMAGENET_IMAGES = 50_000


class ClassificationBenchmark(Benchmark):
    """Runs a cell of labelled images; a subclass says which, and what the numbers mean."""

    measure = 'error'
    model_type = ClassificationModel
    counts_type = Predictions

    def check(self, cell: Cell, counts: Predictions) -> None:
        images = self.images(cell)
        require_names(counts.images, images.labels)
        wrong = [name for name, (label, _) in counts.images.items() if label != images.labels[name]]
        if wrong:
            found, expected = counts.images[wrong[0]][0], images.labels[wrong[0]]
            raise ValueError(f'the label of {wrong[0]} is {found}, and in the data {expected}')
        require_classes(counts, range(len(images.class_names)) if images.subset is None else images.subset)

    def run(self, model: ClassificationModel, cell: Cell, on_image: Callable[[], None] = lambda: None) -> Predictions:
        """Predict all images of a cell, among the classes that it has.

        Raises:
            ValueError: an image is broken, the model's outputs are not the classes, or its scores cannot be compared.
        """
        images = self.images(cell)
        subset = np.arange(len(images.class_names)) if images.subset is None else np.asarray(images.subset)
        found = {}
        for path, label, scores in model.predict(self.corrupted(cell, images.dataset), self.attack(cell)):
            if not found:  # a model that does not say how many outputs it has
                check_classes(len(scores), images.class_names, subset=images.subset)
            if label not in subset:
                raise ValueError(f'the label of {path} must be one of the declared subset of classes, got {label}')
            if not scores[subset].max() > 0:  # softmax has rounded all of a subset to 0
                raise ValueError(
                    f'the scores of {path} must not all be 0 among {len(subset)} classes: too large logits'
                )
            found[images.name(path)] = (label, int(subset[scores[subset].argmax()]))
            on_image()
        assert len(found) == images.size, 'every image must be counted once'
        return Predictions(found)


class ErrorTable(ClassificationBenchmark):
    """Cells that stand side by side, with nothing averaged over them."""

    def summarize(self, counts: Mapping[Cell, Predictions]) -> dict[str, Any]:
        """Top-1 error of each cell in percent, unrounded, with Wilson's interval and bootstrap samples, for JSON."""
        rows = {}
        for cell, of in counts.items():
            draws = Bootstrap(of.images)
            (samples,) = error_samples(draws, [of])
            rows[cell.key] = {
                'error': of.score,
                'error_interval': of.interval,
                'num_images': len(of.images),
                'bootstrap': draws.record(error=samples),
            }
        return {'cells': rows}


def error_layout(
    benchmark: str,
    title: str,
    results: Mapping,
    what: str,
    main: str,
    protocol: tuple[str, ...],
    sentences: tuple[str, ...],
) -> Layout:
    """How errors that stand side by side are shown.

    Args:
        benchmark: its name.
        title: what readers are told.
        results: as :meth:`ErrorTable.summarize` returns them.
        what: what a cell is, such as ``'attack'``.
        main: the cell that answers.
        protocol: see :class:`Layout`.
        sentences: what else to know.
    """
    names = list(results['cells'])
    error = Column('error', 'error', 'lower', interval='column', csv=('error', 'error_low', 'error_high'))
    columns = (
        Column('accuracy', 'accuracy', of='error'),
        Column('num_images', 'number', '', decimals=0, csv=('num_images',)),
    )
    return Layout(
        benchmark,
        title,
        'classification',
        f'Top-1 error and accuracy in percent. Intervals: {INTERVAL_LEVEL:.0%}, Wilson, over images.',
        (
            Table('', 'run', tuple(Column(f'cells/{name}/error', name, 'lower') for name in names), markdown=False),
            Table('cells', what, (error, *columns), role='conditions', csv_row=('cell',), heading='images'),
        ),
        main=f'cells/{main if main in names else names[-1]}/error',
        clean='cells/clean/error' if 'clean' in names else '',
        protocol=protocol,
        sentences=sentences,
    )


def error_samples(draws: Bootstrap, counts: Sequence[Predictions]) -> np.ndarray:
    """Bootstrap samples of the top-1 error in percent of several cells on the same images, ``(R, S)``."""
    wrong = np.stack([of.wrong for of in counts], axis=1)
    return 100 * draws.sums(wrong).T / len(wrong)


def require_classes(counts: Predictions, allowed: Sequence[int]) -> None:
    """Raise ValueError if a label or a prediction is none of these classes."""
    strangers = {one for of in counts.images.values() for one in of} - set(allowed)
    if strangers:
        raise ValueError(f'it has class {min(strangers)}, and the data {len(allowed)} classes')
