"""Transforms of samples."""

from mmrobust.datasets.transforms.corrupt import Corrupt
from mmrobust.datasets.transforms.corrupt_region import CorruptRegion
from mmrobust.datasets.transforms.load_corrupted import LoadCorruptedImageFromFile
from mmrobust.datasets.transforms.loading import BrokenImageError, LoadAnnotations, LoadImageFromFile
from mmrobust.datasets.transforms.of_timm import ResizeAndCropOfTimm
from mmrobust.datasets.transforms.random_corrupt import RandomCorrupt

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
