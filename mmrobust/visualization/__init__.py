"""Figures."""

from mmrobust.visualization.robustness_page import robustness_page
from mmrobust.visualization.segmentation import side_by_side

__all__ = ['robustness_page', 'side_by_side']
