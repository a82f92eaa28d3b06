"""Figures."""

from mmrobust.visualization.classification_page import classification_page
from mmrobust.visualization.robustness_page import robustness_page
from mmrobust.visualization.segmentation import side_by_side
from mmrobust.visualization.worst_pictures import read_worst_panels

__all__ = ['classification_page', 'read_worst_panels', 'robustness_page', 'side_by_side']
