"""Metrics from counts; numpy and scipy only."""

# ruff: noqa: F401 - handed on

from mmrobust.evaluation.statistics.bootstrap import INTERVAL_LEVEL, Bootstrap, interval, rate_interval
from mmrobust.evaluation.statistics.calibration import (
    BINS,
    LEVELS,
    STEPS,
    confidence_counts,
    expected_calibration_error,
    kept_areas,
    reliability,
)
from mmrobust.evaluation.statistics.corruption import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    ALEXNET_EXTRA_ERRORS,
    benchmark_mean,
    corruption_degradation,
    corruption_errors,
    mean_over_corruptions,
    mean_over_severities,
    raw_corruption_errors,
    relative_corruption_errors,
    retention,
)
from mmrobust.evaluation.statistics.iou import (
    class_iou,
    confusion_matrix,
    iou_of_areas,
    mean_iou,
    mean_iou_of_areas,
    worst_by_accuracy,
    worst_by_iou,
)
from mmrobust.evaluation.statistics.perturbation_stability import (
    ALEXNET_FLIP_PROBABILITIES,
    flip_probability,
    flip_rates,
    top5,
    top5_distance,
)
from mmrobust.evaluation.statistics.rank_correlation import FEWEST_MODELS, RankCorrelation, rank_correlation
