"""Transforms of samples."""

from mmrobust.datasets.transforms.corrupt import Corrupt
from mmrobust.datasets.transforms.load_corrupted import LoadCorruptedImageFromFile
from mmrobust.datasets.transforms.loading import BrokenPictureError, LoadAnnotations, LoadImageFromFile
from mmrobust.datasets.transforms.random_corrupt import RandomCorrupt

__all__ = [
    'BrokenPictureError',
    'Corrupt',
    'LoadAnnotations',
    'LoadCorruptedImageFromFile',
    'LoadImageFromFile',
    'RandomCorrupt',
]
