"""What the benchmarks of classifiers share."""

import os.path as osp
from collections.abc import Callable

import numpy as np
from mmengine.registry import DATASETS, DefaultScope

from mmrobust.evaluation.benchmarks.class_result import ClassResult
from mmrobust.evaluation.benchmarks.classification import Attack, ClassificationModel
from mmrobust.evaluation.benchmarks.protocols import Cell


class LabelledPictures:
    """A dataset config of MMPretrain, thinned out if asked for, before any picture is loaded.

    Args:
        dataset: the config.
        scope: default scope of its type names.
        max_images: take this many pictures, spread evenly; None takes all.

    Attributes:
        dataset: the config, to be built or edited further.
        size: number of pictures.
        class_names: K names.
        subset: the classes that scores are restricted to, or None.

    Raises:
        ValueError: ``max_images`` is below 1, or the dataset's own errors.
        FileNotFoundError: there are no data.
    """

    def __init__(self, dataset: dict, scope: str = 'mmpretrain', max_images: int | None = None) -> None:
        if max_images is not None and max_images < 1:
            raise ValueError(f'max_images must be 1 or more, got {max_images}')
        self.dataset = dict(dataset)
        self.root = self.dataset.get('data_root') or ''
        with DefaultScope.overwrite_default_scope(scope):
            built = DATASETS.build(self.dataset)
        self.size = len(built)
        if max_images is not None and max_images < self.size:
            self.dataset['indices'] = [int(index) for index in np.linspace(0, self.size - 1, max_images)]
            self.size = max_images
        self.class_names = tuple(built.metainfo['classes'])
        self.subset = built.metainfo.get('subset')

    def name(self, path: str) -> str:
        """A picture's path below the data root: the same for a copy of the data elsewhere."""
        return (osp.relpath(path, self.root) if self.root else path).replace(osp.sep, '/')


class ClassificationBenchmark:
    """Runs a cell of labelled pictures; a subclass says which, and what the numbers mean."""

    measure = 'error'
    model_type = ClassificationModel
    result_type = ClassResult
    cells: list[Cell]

    def pictures(self, cell: Cell) -> LabelledPictures:
        """The pictures of a cell."""
        raise NotImplementedError

    def dataset(self, cell: Cell) -> dict:
        """The config of what the model sees."""
        return self.pictures(cell).dataset

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
        for path, label, scores in model.predict(self.dataset(cell), self.attack(cell)):
            if len(scores) <= subset.max():
                raise ValueError(f'the model has {len(scores)} classes, but {cell.name} needs {subset.max() + 1}')
            found[pictures.name(path)] = (label, int(subset[scores[subset].argmax()]))
            on_picture()
        assert len(found) == pictures.size, 'every picture must be counted once'
        return ClassResult(found)
