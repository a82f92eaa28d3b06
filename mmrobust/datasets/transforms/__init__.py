"""Transforms of samples."""

from mmrobust.datasets.transforms.loading import LoadAnnotations, LoadImageFromFile

__all__ = ['LoadAnnotations', 'LoadImageFromFile']
