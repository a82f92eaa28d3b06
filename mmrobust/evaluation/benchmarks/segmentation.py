"""Any MMSegmentation model, ready to predict, and what it says about a picture."""

from collections.abc import Iterator
from typing import NamedTuple

import mmseg.models  # noqa: F401 (registers the models of its scope)
import numpy as np
import torch

from mmrobust.evaluation.benchmarks.evaluated_model import EvaluatedModel


class Prediction(NamedTuple):
    """What a model says about one picture, in the picture's own size.

    Attributes:
        path: the picture's file.
        classes: ``(H, W)`` integer, 0 to K - 1.
        label: ``(H, W)`` integer, or None where labels are withheld.
    """

    path: str
    classes: np.ndarray
    label: np.ndarray | None


class SegmentationModel(EvaluatedModel):
    """A segmentation model with its weights; arguments and errors are those of the base class."""

    scope = 'mmseg'

    def predict(self, dataset: dict) -> Iterator[Prediction]:
        """Predict every picture of a dataset config, in its order."""
        for batch in self.loader(dataset):
            with torch.no_grad():
                samples = self.model.test_step(batch)
            for sample in samples:
                label = sample.gt_sem_seg.data.squeeze(0).cpu().numpy() if 'gt_sem_seg' in sample else None
                yield Prediction(sample.img_path, sample.pred_sem_seg.data.squeeze(0).cpu().numpy(), label)
