"""Classifiers that train with a loss on attention, and those of timm."""

from mmrobust.models.classifiers.robust_image_classifier import RobustImageClassifier
from mmrobust.models.classifiers.timm_classifier import TimmClassifier

__all__ = ['RobustImageClassifier', 'TimmClassifier']
