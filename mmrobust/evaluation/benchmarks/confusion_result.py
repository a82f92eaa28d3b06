"""Pixels of a cell by label and prediction, which add up exactly over images, processes and shards."""

import json

import numpy as np

from mmrobust.evaluation.functional import mean_iou


class ConfusionResult:
    """Counts of one cell.

    Args:
        confusion: ``(K, K)`` pixels by label (rows) and prediction (columns).
        images: name of each picture to its counts ``(3, K)``: intersection, prediction and label. All are 0 where
            there is no label.
    """

    def __init__(self, confusion: np.ndarray, images: dict[str, np.ndarray]) -> None:
        self.confusion = confusion
        self.images = images

    @property
    def score(self) -> float | None:
        """mIoU in percent; None where nothing is labelled."""
        return mean_iou(self.confusion) if self.confusion.any() else None

    @classmethod
    def of_matrices(cls, matrices: dict[str, np.ndarray]) -> 'ConfusionResult':
        """From the confusion matrix ``(K, K)`` of each picture."""
        counts = {name: np.stack([np.diagonal(m), m.sum(0), m.sum(1)]) for name, m in matrices.items()}
        return cls(sum(matrices.values()), counts)

    def to_json(self) -> str:
        """Text that depends on the counts only, pictures sorted by name."""
        lines = [f'    {json.dumps(name)}: {json.dumps(self.images[name].tolist())}' for name in sorted(self.images)]
        confusion = json.dumps(self.confusion.tolist())
        return '{\n  "confusion": ' + confusion + ',\n  "images": {\n' + ',\n'.join(lines) + '\n  }\n}\n'

    @classmethod
    def from_json(cls, text: str) -> 'ConfusionResult':
        """Inverse of :meth:`to_json`.

        Raises:
            ValueError: this is not such a text.
        """
        try:
            content = json.loads(text)
            images = {name: np.array(counts, np.int64) for name, counts in content['images'].items()}
            confusion = np.array(content['confusion'], np.int64)
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f'not the counts of a cell: {error}') from error
        classes = len(confusion) if confusion.ndim else 0
        wrong = [counts.shape for counts in images.values() if counts.shape != (3, classes)]
        if confusion.shape != (classes, classes) or wrong:
            raise ValueError(f'counts must be (K, K) and (3, K), got {[confusion.shape, *wrong[:3]]}')
        return cls(confusion, images)
