"""Numbers from counts: numpy only, no model and no file."""

from mmrobust.evaluation.functional.corruption_iou import (
    bootstrap_interval,
    corruption_degradation,
    mean_over_corruptions,
    mean_over_severities,
    retention,
)
from mmrobust.evaluation.functional.iou import class_iou, confusion_matrix, iou_of_areas, mean_iou

__all__ = [
    'bootstrap_interval',
    'class_iou',
    'confusion_matrix',
    'corruption_degradation',
    'iou_of_areas',
    'mean_iou',
    'mean_over_corruptions',
    'mean_over_severities',
    'retention',
]
