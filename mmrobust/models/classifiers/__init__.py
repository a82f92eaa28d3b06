"""Classifiers that train with a loss on attention."""

from mmrobust.models.classifiers.robust_image_classifier import RobustImageClassifier

__all__ = ['RobustImageClassifier']
