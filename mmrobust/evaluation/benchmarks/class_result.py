"""What a classifier said about each picture of a cell."""

import json
from collections.abc import Mapping

import numpy as np


class ClassResult:
    """Label and prediction of each picture.

    Args:
        pictures: name of each picture to ``(label, prediction)``, class indices from 0.
    """

    def __init__(self, pictures: Mapping[str, tuple[int, int]]) -> None:
        self.pictures = dict(pictures)

    @property
    def wrong(self) -> np.ndarray:
        """Whether each picture is misclassified, in the order of their names: ``(N,)`` int64, 0 or 1."""
        return np.array([int(label != said) for _, (label, said) in sorted(self.pictures.items())], np.int64)

    @property
    def error(self) -> float:
        """Top-1 error in percent."""
        return 100 * float(self.wrong.mean())

    @property
    def score(self) -> float:
        """The error again, to watch while a benchmark runs."""
        return self.error

    def to_json(self) -> str:
        """Text that depends on the predictions only, pictures sorted by name."""
        lines = [f'    {json.dumps(name)}: {json.dumps(list(self.pictures[name]))}' for name in sorted(self.pictures)]
        return '{\n  "pictures": {\n' + ',\n'.join(lines) + '\n  }\n}\n'

    @classmethod
    def from_json(cls, text: str) -> 'ClassResult':
        """Inverse of :meth:`to_json`.

        Raises:
            ValueError: this is not such a text.
        """
        try:
            pictures = {name: (int(label), int(said)) for name, (label, said) in json.loads(text)['pictures'].items()}
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f'not the predictions of a cell: {error}') from error
        return cls(pictures)
