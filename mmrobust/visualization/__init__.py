"""Figures, and the page of results."""

from mmrobust.visualization.segmentation import side_by_side

__all__ = ['side_by_side']
