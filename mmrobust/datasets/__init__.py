"""Datasets, their transforms and samplers."""

from mmrobust.datasets import transforms
from mmrobust.datasets.cityscapes import CityscapesDataset
from mmrobust.datasets.seeded_sampling import SeededIndex, SeededInfiniteSampler, SeededSampling

__all__ = ['CityscapesDataset', 'SeededIndex', 'SeededInfiniteSampler', 'SeededSampling', 'transforms']
