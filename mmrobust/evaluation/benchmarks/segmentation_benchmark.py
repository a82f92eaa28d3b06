"""What the benchmarks of segmentation models share."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mmrobust.datasets.corrupted import position_of_loading
from mmrobust.evaluation.benchmarks.confusion_result import ConfusionResult
from mmrobust.evaluation.benchmarks.pictures import LabelMapPictures
from mmrobust.evaluation.benchmarks.segmentation import SegmentationModel
from mmrobust.evaluation.functional import confusion_matrix
from mmrobust.evaluation.protocols import CLEAN, Cell
from mmrobust.files import write_whole


class SegmentationBenchmark:
    """Runs a cell of pictures with label maps; a subclass says which, and what the numbers mean.

    Attributes:
        predictions: folder for one PNG of classes per picture, under the picture's own file name; None writes none.
    """

    measure = 'mIoU'
    model_type = SegmentationModel
    result_type = ConfusionResult
    cells: list[Cell]
    predictions: Path | None = None

    def pictures(self, cell: Cell) -> LabelMapPictures:
        """The pictures of a cell as they lie on the disk."""
        raise NotImplementedError

    def corrupted(self, cell: Cell, dataset: dict) -> dict:
        """A config of such pictures, turned into one of what the model sees."""
        raise NotImplementedError

    def size(self, cell: Cell) -> int:
        """Number of pictures of a cell."""
        return self.pictures(cell).size

    def run(
        self, model: SegmentationModel, cell: Cell, on_picture: Callable[[], None] = lambda: None
    ) -> ConfusionResult:
        """Predict all pictures of a cell and count; a picture without a label counts nothing.

        Raises:
            ValueError: a picture or a label is broken or does not fit the model.
            OSError: a prediction cannot be written.
        """
        pictures = self.pictures(cell)
        num_classes = len(pictures.class_names)
        matrices = {}
        for path, classes, label in model.predict(self.corrupted(cell, pictures.dataset)):
            if label is None:
                matrix = np.zeros((num_classes, num_classes), np.int64)
            else:
                matrix = confusion_matrix(label, classes, num_classes, pictures.ignore_index)
            matrices[pictures.name(path)] = matrix
            if self.predictions is not None:
                png = cv2.imencode('.png', classes.astype(np.uint8))[1]
                write_whole(self.predictions / Path(path).with_suffix('.png').name, png.tobytes())
            on_picture()
        assert list(matrices) == pictures.names, 'every picture must be counted once'
        return ConfusionResult.of_matrices(matrices)

    def panels(
        self, model: SegmentationModel, cell: Cell, picture: str
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What is shown of one picture.

        Returns:
            Pictures ``(H, W, 3)`` uint8, BGR: ``clean`` and ``corrupted``, or ``picture`` where nothing was added to
            it; and label maps ``(H, W)``: ``truth`` and ``prediction``.
        """
        dataset = self.pictures(cell).only(picture)
        _, classes, label = next(model.predict(self.corrupted(cell, dataset)))
        pipeline = dataset['pipeline']
        loading = dataset | {'pipeline': pipeline[: position_of_loading(pipeline) + 1]}
        shown = {'clean': CLEAN, 'corrupted': cell} if cell.severity else {'picture': cell}
        pictures = {kind: model.build_dataset(self.corrupted(of, loading))[0]['img'] for kind, of in shown.items()}
        return pictures, {'truth': label, 'prediction': classes}
