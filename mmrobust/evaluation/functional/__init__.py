"""Numbers from counts: numpy only, no model and no file."""

from mmrobust.evaluation.functional.corruption_iou import (
    bootstrap_interval,
    corruption_degradation,
    mean_over_corruptions,
    mean_over_severities,
    retention,
)
from mmrobust.evaluation.functional.iou import class_iou, confusion_matrix, mean_iou

__all__ = [
    'bootstrap_interval',
    'class_iou',
    'confusion_matrix',
    'corruption_degradation',
    'mean_iou',
    'mean_over_corruptions',
    'mean_over_severities',
    'retention',
]
