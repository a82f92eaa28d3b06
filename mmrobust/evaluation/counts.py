"""Counts kept of a finished cell: integers per image, so that shards add up exactly."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mmrobust.evaluation.statistics import BINS, LEVELS, STEPS, class_iou, mean_iou, rate_interval

_NO_COUNTS = (KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class Attacked(NamedTuple):
    """What an attack did to one image; see :class:`mmrobust.attacks.AttackedImages`.

    Attributes:
        before: mean cross-entropy of its labelled pixels before the attack.
        after: the same after it.
        by_margin: 1 where the margin stood in for a loss without a gradient, else 0.
        blind: 1 where there was no gradient at all, else 0.
    """

    before: float
    after: float
    by_margin: int
    blind: int


class Confidences(NamedTuple):
    """Pixels of a cell by confidence; see :mod:`mmrobust.evaluation.statistics.calibration`.

    Attributes:
        images: name of each image to its counts ``(3, BINS)``: pixels, right pixels, sum of the levels.
        areas: ``(len(STEPS), 3, K)`` of all images, by step and class: intersection, prediction, label.
    """

    images: Mapping[str, np.ndarray]
    areas: np.ndarray


@dataclass(eq=False)
class Confusion:
    """Pixels of a cell by label and prediction.

    Args:
        confusion: ``(K, K)`` pixels by label (rows) and prediction (columns).
        images: name of each image to its counts ``(3, K)``: intersection, prediction and label. All are 0 where
            there is no label.
        attacked: name of each image to what an attack did to it; None where nothing was attacked.
        confidences: the same pixels by confidence; None where nobody asked.
    """

    confusion: np.ndarray
    images: dict[str, np.ndarray]
    attacked: Mapping[str, Attacked] | None = None
    confidences: Confidences | None = None

    @property
    def labelled(self) -> np.ndarray:
        """Whether each class is in the labels, ``(K,)`` bool."""
        return self.confusion.any(axis=1)

    @property
    def ious(self) -> np.ndarray:
        """IoU of each class in percent, ``(K,)``; NaN of one that is in no label."""
        return np.where(self.labelled, class_iou(self.confusion), np.nan)

    @property
    def score(self) -> float | None:
        """mIoU in percent; None where nothing is labelled."""
        return mean_iou(self.confusion) if self.confusion.any() else None

    @classmethod
    def of_matrices(cls, matrices: dict[str, np.ndarray], confidences: Confidences | None = None) -> 'Confusion':
        """From the confusion matrix ``(K, K)`` of each image."""
        counts = {name: np.stack([np.diagonal(m), m.sum(0), m.sum(1)]) for name, m in matrices.items()}
        return cls(sum(matrices.values()), counts, None, confidences)

    def to_json(self) -> str:
        """Text that depends on the counts only, images sorted by name."""
        confidences = self.confidences and self.confidences._asdict()
        parts = dict(confusion=self.confusion, attacked=self.attacked, confidences=confidences)
        return _text(parts, 'images', self.images)

    @classmethod
    def from_json(cls, text: str) -> 'Confusion':
        """Inverse of :meth:`to_json`; ValueError for any other text."""

        def read(content: dict) -> tuple:
            confusion, attacked = _integers(content['confusion']), content.get('attacked')
            if attacked is not None:
                attacked = {name: Attacked(*of) for name, of in attacked.items()}
            confidences = content.get('confidences')
            if confidences is not None:
                found = _by_image(confidences['images'], (3, BINS))
                confidences = Confidences(found, _integers(confidences['areas']))
            return confusion, _by_image(content['images'], (3, len(confusion))), attacked, confidences

        confusion, images, attacked, confidences = _read(text, read)
        if confusion.shape != (len(confusion), len(confusion)):
            raise ValueError(f'the confusion must be (K, K), got {confusion.shape}')
        total = sum(images.values(), np.zeros((3, len(confusion)), np.int64))
        if not np.array_equal(total, [np.diagonal(confusion), confusion.sum(0), confusion.sum(1)]):
            raise ValueError('the counts of its images do not add up to the confusion')
        for name, (intersection, prediction, label) in images.items():
            if (intersection > np.minimum(prediction, label)).any() or prediction.sum() != label.sum():
                raise ValueError(f'the counts of {name!r} contradict each other')
        for name, of in (attacked or {}).items():
            losses = all(isinstance(value, float) and 0 <= value < np.inf for value in of[:2])
            if not losses or not all(type(value) is int and value in (0, 1) for value in of[2:]):
                raise ValueError(f'an attack has two losses and two flags, got {list(of)} of {name!r}')
        if attacked is not None and attacked.keys() != images.keys():
            raise ValueError(f'{len(attacked)} images were attacked, and {len(images)} counted')
        if confidences is not None:
            _check_confidences(confidences, images, total)
        return cls(confusion, images, attacked, confidences)


@dataclass(eq=False)
class RegionalConfusion(Confusion):
    """Pixels of a cell, and under ``inside`` those of a region of each image, by the same names."""

    inside: Confusion | None = None

    @property
    def outside(self) -> Confusion:
        """Of all other pixels."""
        images = {name: counts - self.inside.images[name] for name, counts in self.images.items()}
        return Confusion(self.confusion - self.inside.confusion, images)

    def to_json(self) -> str:
        return json.dumps({'whole': super().to_json(), 'inside': self.inside.to_json()}, indent=2) + '\n'

    @classmethod
    def from_json(cls, text: str) -> 'RegionalConfusion':
        whole, inside = (Confusion.from_json(of) for of in _read(text, lambda of: (of['whole'], of['inside'])))
        if set(whole.images) != set(inside.images) or (inside.confusion > whole.confusion).any():
            raise ValueError('the counts of the region are not a part of those of its images')
        return cls(whole.confusion, whole.images, inside=inside)


@dataclass(eq=False)
class Predictions:
    """Label and prediction of each image of a cell.

    Args:
        images: name of each image to ``(label, prediction)``, class indices from 0.
        gradients: of an attack, how many images had none in the loss at a step (``by_margin``), and none at all at
            every step (``blind``); None where nothing was attacked.
    """

    images: Mapping[str, tuple[int, int]]
    gradients: Mapping[str, int] | None = None

    @property
    def wrong(self) -> np.ndarray:
        """Whether each image is misclassified, in the order of their names: ``(N,)`` int64, 0 or 1."""
        return np.array([int(label != said) for _, (label, said) in sorted(self.images.items())], np.int64)

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the top-1 error in percent."""
        return rate_interval(int(self.wrong.sum()), len(self.images))

    @property
    def score(self) -> float:
        """Top-1 error in percent."""
        return 100 * float(self.wrong.mean())

    def to_json(self) -> str:
        """Text that depends on the predictions only, images sorted by name."""
        return _text(dict(gradients=self.gradients), 'images', self.images)

    @classmethod
    def from_json(cls, text: str) -> 'Predictions':
        """Inverse of :meth:`to_json`; ValueError for any other text."""

        def read(found: dict) -> tuple:
            gradients = found.get('gradients')
            if gradients is not None:
                names = ('by_margin', 'blind')
                gradients = dict(zip(names, _integers([gradients[name] for name in names]).tolist(), strict=True))
            images = {name: tuple(of.tolist()) for name, of in _by_image(found['images'], (2,)).items()}
            return images, gradients

        return cls(*_read(text, read))


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


@dataclass(eq=False)
class Flips:
    """How often a classifier changed its mind over each video of a cell.

    Args:
        videos: name of each video to its counts.
    """

    videos: Mapping[str, Stability]

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
        return _text({}, 'videos', self.videos)

    @classmethod
    def from_json(cls, text: str) -> 'Flips':
        """Inverse of :meth:`to_json`; ValueError for any other text, and for counts that contradict each other."""
        found = _read(text, lambda found: _by_image(found['videos'], (3,)))
        videos = {name: Stability(*counts.tolist()) for name, counts in found.items()}
        for name, (flips, distance, pairs) in videos.items():
            if pairs < 1 or flips > pairs or distance > 15 * pairs:
                raise ValueError(f'the counts of {name!r} contradict each other: {flips}, {distance} and {pairs}')
        return cls(videos)


def _check_confidences(of: Confidences, images: Mapping[str, np.ndarray], total: np.ndarray) -> None:
    """Raise ValueError if pixels by confidence are not those of the same images."""
    if of.areas.shape != (len(STEPS), *total.shape):
        raise ValueError(f'the pixels by confidence must be {(len(STEPS), *total.shape)}, got {of.areas.shape}')
    if of.images.keys() != images.keys() or not np.array_equal(of.areas.sum(0), total):
        raise ValueError('the pixels by confidence are not those of the confusion')
    low = np.arange(BINS) * (LEVELS // BINS)
    for name, (pixels, right, levels) in of.images.items():
        intersection, _, label = images[name]
        fits = (pixels.sum(), right.sum()) == (label.sum(), intersection.sum()) and (right <= pixels).all()
        if not fits or (levels < pixels * low).any() or (levels > pixels * (low + LEVELS // BINS - 1)).any():
            raise ValueError(f'the pixels by confidence of {name!r} contradict its counts')


def _text(parts: Mapping[str, Any], last: str, by_name: Mapping[str, Any]) -> str:
    """A JSON object: a line for each part that is not None, and in the last one a line for each name, sorted."""
    encode = json.JSONEncoder(sort_keys=True, default=np.ndarray.tolist).encode
    head = ''.join(f'  "{part}": {encode(value)},\n' for part, value in parts.items() if value is not None)
    lines = ',\n'.join(f'    {encode(name)}: {encode(by_name[name])}' for name in sorted(by_name))
    return f'{{\n{head}  "{last}": {{\n{lines}\n  }}\n}}\n'


def _integers(values: list) -> np.ndarray:
    """Nested lists of counts as int64; sums of them stay exact.

    Raises:
        ValueError: one is no integer, or negative, or too large for a count.
    """
    found = np.array(values)
    if (found.size and found.dtype != np.int64) or (found < 0).any() or (found >= 2**53).any():
        raise ValueError(f'counts must be integers from 0 to 2 ** 53, got {str(values)[:80]}')
    return found.astype(np.int64)


def _by_image(values: dict[str, list], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Counts of this shape by name, read at once because there may be 50000."""
    counts = _integers(list(values.values()))
    if values and counts.shape[1:] != shape:
        raise ValueError(f'the counts of an image must be {shape}, got {counts.shape[1:]}')
    return dict(zip(values, counts, strict=True))


def _read(text: str, read: Callable[[dict], Any]) -> Any:
    try:
        return read(json.loads(text))
    except _NO_COUNTS as error:
        raise ValueError(f'not the counts of a cell: {error}') from error
