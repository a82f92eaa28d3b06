"""Calibration and rejection by confidence in the results of a segmentation benchmark."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmrobust.evaluation.counts import Confusion
from mmrobust.evaluation.report import Column, Curve, Table
from mmrobust.evaluation.statistics import (
    BINS,
    Bootstrap,
    expected_calibration_error,
    kept_areas,
    mean_iou_of_areas,
    reliability,
)

_SHARES = range(0, 100, 5)  # percent of pixels that are rejected
_REJECTED = 20  # of the table


def calibration_results(
    parts: Mapping[str, Sequence[Confusion]],
    classes: np.ndarray | slice = slice(None),
    unit_of: Callable[[str], str] | None = None,
) -> dict[str, Any]:
    """Calibration of each part of a run, for JSON; empty if its cells do not hold pixels by confidence.

    Args:
        parts: what a row is called to its cells, whose pixels count together.
        classes: those that mIoU is over, ``(K,)`` bool.
        unit_of: of the bootstrap, see :class:`mmrobust.evaluation.statistics.Bootstrap`.
    """
    found: dict[str, Any] = {'calibration': {}, 'reliability': {}, 'rejection': {}}
    for name, cells in parts.items():
        if any(of.confidences is None for of in cells):
            return {}
        images: dict[str, np.ndarray] = {}
        for image, counts in (item for of in cells for item in of.confidences.images.items()):
            images[image] = images.get(image, 0) + counts
        draws = Bootstrap(images, unit_of)
        by_image = np.stack([images[image] for image in draws.names])
        confidence, accuracy = reliability(by_image.sum(0))
        areas = sum(of.confidences.areas for of in cells)
        kept = np.stack([kept_areas(areas, share / 100) for share in _SHARES])
        right = 100 * kept[:, 0].sum(-1) / kept[:, 2].sum(-1)
        miou = mean_iou_of_areas(kept[..., classes])
        weights = by_image.sum(0)[0]
        at = _SHARES.index(_REJECTED)
        found['calibration'][name] = {
            'ECE': float(expected_calibration_error(by_image.sum(0))),
            'ECE_interval': draws.interval(expected_calibration_error(draws.sums(by_image))),
            'confidence': float(np.nansum(confidence * weights) / weights.sum()),
            'aAcc': float(right[0]),
            'aAcc_kept': float(right[at]),
            'mIoU': float(miou[0]),
            'mIoU_kept': float(miou[at]),
        }
        filled = weights > 0
        found['reliability'][name] = {
            'confidence': confidence[filled].tolist(),
            'accuracy': accuracy[filled].tolist(),
            'pixels': weights[filled].tolist(),
        }
        found['rejection'][name] = {'rejected': list(_SHARES), 'aAcc': right.tolist(), 'mIoU': miou.tolist()}
    return found


def calibration_shown(results: Mapping, row: str) -> tuple[list[Table], tuple[Curve, ...]]:
    """The table of these results, in which ``row`` is what a row is, and their curves; none if there are none."""
    if 'calibration' not in results:
        return [], ()
    table = Table(
        'calibration',
        row,
        (
            Column('ECE', 'ECE', 'lower', interval='column'),
            Column('confidence', 'mean confidence', ''),
            Column('aAcc', 'aAcc'),
            Column('aAcc_kept', f'aAcc, {_REJECTED}% rejected'),
            Column('mIoU', 'mIoU'),
            Column('mIoU_kept', f'mIoU, {_REJECTED}% rejected'),
        ),
        'Calibration',
        f'Confidence is the largest softmax probability of a pixel; ECE the mean gap between it and accuracy in {BINS} '
        f'equal bins, in percent. If confidence is above aAcc the model is too sure. {_REJECTED}% rejected: without '
        'the least confident pixels. Here all pixels of a row count together, so mIoU is no mean over severities.',
    )
    return [table], CALIBRATION_CURVES


CALIBRATION_CURVES = (
    Curve(
        'reliability',
        Column('confidence', 'confidence'),
        Column('accuracy', 'accuracy'),
        'Reliability',
        'Accuracy of the pixels of a bin by their mean confidence, in percent. Below the dashed line the model is too '
        'sure.',
        diagonal=True,
    ),
    Curve(
        'rejection',
        Column('rejected', 'share rejected'),
        Column('mIoU', 'mIoU'),
        'Rejection: mIoU',
        'mIoU of the pixels that are kept, by the share that is rejected, the least confident first; in percent. A '
        'class of which nothing is kept is in no mean, so the end of a curve may be of few classes.',
    ),
    Curve(
        'rejection',
        Column('rejected', 'share rejected'),
        Column('aAcc', 'aAcc'),
        'Rejection: accuracy',
        'aAcc of the pixels that are kept, by the share that is rejected, in percent.',
    ),
)
