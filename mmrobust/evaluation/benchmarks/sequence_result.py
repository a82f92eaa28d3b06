"""How often a classifier changed its mind over each video of a cell."""

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Stability(NamedTuple):
    """Counts of one video.

    Attributes:
        flips: compared frames whose prediction differs.
        distance: sum of the top-5 distances of the compared frames.
        pairs: compared frames.
    """

    flips: int
    distance: int
    pairs: int


class SequenceResult:
    """Counts of each video.

    Args:
        videos: name of each video to its counts.
    """

    def __init__(self, videos: Mapping[str, Stability]) -> None:
        self.videos = dict(videos)

    @property
    def flip_probabilities(self) -> np.ndarray:
        """Of each video, in the order of their names: ``(N,)``, 0 to 1."""
        return np.array([counts.flips / counts.pairs for _, counts in sorted(self.videos.items())])

    @property
    def distances(self) -> np.ndarray:
        """Mean top-5 distance of each video, in the order of their names: ``(N,)``, 0 to 15."""
        return np.array([counts.distance / counts.pairs for _, counts in sorted(self.videos.items())])

    @property
    def score(self) -> float:
        """Flip probability in percent."""
        return 100 * float(self.flip_probabilities.mean())

    def to_json(self) -> str:
        """Text that depends on the counts only, videos sorted by name."""
        lines = [f'    {json.dumps(name)}: {json.dumps(list(self.videos[name]))}' for name in sorted(self.videos)]
        return '{\n  "videos": {\n' + ',\n'.join(lines) + '\n  }\n}\n'

    @classmethod
    def from_json(cls, text: str) -> 'SequenceResult':
        """Inverse of :meth:`to_json`.

        Raises:
            ValueError: this is not such a text.
        """
        try:
            videos = {name: Stability(*map(int, counts)) for name, counts in json.loads(text)['videos'].items()}
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f'not the counts of a cell: {error}') from error
        alone = [name for name, counts in videos.items() if counts.pairs < 1]
        if alone:
            raise ValueError(f'a video needs a pair of frames or more, but {alone[0]!r} has none')
        return cls(videos)
