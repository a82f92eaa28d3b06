"""Transforms of samples."""

from mmrobust.datasets.transforms.corrupt import Corrupt
from mmrobust.datasets.transforms.loading import LoadAnnotations, LoadImageFromFile

__all__ = ['Corrupt', 'LoadAnnotations', 'LoadImageFromFile']
