"""Metrics from counts; numpy and scipy only."""

from mmrobust.evaluation.statistics.bootstrap import INTERVAL_LEVEL, Bootstrap, interval, rate_interval
from mmrobust.evaluation.statistics.corruption_error import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    ALEXNET_EXTRA_ERRORS,
    benchmark_mean,
    corruption_errors,
    mean_corruption_error,
    raw_corruption_errors,
    relative_corruption_errors,
)
from mmrobust.evaluation.statistics.corruption_iou import (
    corruption_degradation,
    mean_over_corruptions,
    mean_over_severities,
    retention,
)
from mmrobust.evaluation.statistics.iou import class_iou, confusion_matrix, iou_of_areas, mean_iou
from mmrobust.evaluation.statistics.perturbation_stability import (
    ALEXNET_FLIP_PROBABILITIES,
    flip_probability,
    flip_rates,
    mean_flip_rate,
    top5,
    top5_distance,
)
from mmrobust.evaluation.statistics.rank_correlation import FEWEST_MODELS, RankCorrelation, rank_correlation

__all__ = [
    'ALEXNET_CLEAN_ERROR',
    'ALEXNET_ERRORS',
    'ALEXNET_EXTRA_ERRORS',
    'ALEXNET_FLIP_PROBABILITIES',
    'FEWEST_MODELS',
    'INTERVAL_LEVEL',
    'Bootstrap',
    'RankCorrelation',
    'benchmark_mean',
    'class_iou',
    'confusion_matrix',
    'corruption_degradation',
    'corruption_errors',
    'flip_probability',
    'flip_rates',
    'interval',
    'iou_of_areas',
    'mean_corruption_error',
    'mean_flip_rate',
    'mean_iou',
    'mean_over_corruptions',
    'mean_over_severities',
    'rank_correlation',
    'rate_interval',
    'raw_corruption_errors',
    'relative_corruption_errors',
    'retention',
    'top5',
    'top5_distance',
]
