"""What the benchmarks of classifiers share."""

from collections.abc import Callable

import numpy as np

from mmrobust.evaluation.benchmarks.class_result import ClassResult
from mmrobust.evaluation.benchmarks.classification import Attack, ClassificationModel
from mmrobust.evaluation.benchmarks.pictures import LabelledPictures
from mmrobust.evaluation.protocols import Cell


class ClassificationBenchmark:
    """Runs a cell of labelled pictures; a subclass says which, and what the numbers mean."""

    measure = 'error'
    model_type = ClassificationModel
    result_type = ClassResult
    cells: list[Cell]

    def pictures(self, cell: Cell) -> LabelledPictures:
        """The pictures of a cell."""
        raise NotImplementedError

    def corrupted(self, cell: Cell, dataset: dict) -> dict:
        """A config of a cell's pictures, turned into one of what the model sees."""
        return dataset

    def attack(self, cell: Cell) -> Attack | None:
        """What changes the pixels on the way to the model, see ``ClassificationModel.predict``; None for nothing."""
        return None

    def size(self, cell: Cell) -> int:
        """Number of pictures of a cell."""
        return self.pictures(cell).size

    def run(self, model: ClassificationModel, cell: Cell, on_picture: Callable[[], None] = lambda: None) -> ClassResult:
        """Predict all pictures of a cell, among the classes that it has.

        Raises:
            ValueError: a picture is broken, or the model has too few classes.
        """
        pictures = self.pictures(cell)
        subset = np.arange(len(pictures.class_names)) if pictures.subset is None else np.asarray(pictures.subset)
        found = {}
        for path, label, scores in model.predict(self.corrupted(cell, pictures.dataset), self.attack(cell)):
            if len(scores) <= subset.max():
                raise ValueError(f'the model has {len(scores)} classes, but {cell.name} needs {subset.max() + 1}')
            found[pictures.name(path)] = (label, int(subset[scores[subset].argmax()]))
            on_picture()
        assert len(found) == pictures.size, 'every picture must be counted once'
        return ClassResult(found)
