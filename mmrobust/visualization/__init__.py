"""Figures: panels of attention, label maps side by side."""

from mmrobust.visualization.segmentation import side_by_side

__all__ = ['side_by_side']
