"""Transforms of samples."""

from mmrobust.datasets.transforms.corrupt import Corrupt, CorruptRegion, RandomCorrupt
from mmrobust.datasets.transforms.load_corrupted import LoadCorruptedImageFromFile
from mmrobust.datasets.transforms.loading import BrokenImageError, LoadAnnotations, LoadImageFromFile
from mmrobust.preprocessing import ResizeAndCropOfTimm

__all__ = [
    'BrokenImageError',
    'Corrupt',
    'CorruptRegion',
    'LoadAnnotations',
    'LoadCorruptedImageFromFile',
    'LoadImageFromFile',
    'RandomCorrupt',
    'ResizeAndCropOfTimm',
]
