"""Datasets, their transforms and samplers."""

# ruff: noqa: E402
from mmrobust.compat import import_quietly

import_quietly('mmseg.datasets')

from mmrobust.datasets import transforms
from mmrobust.datasets.cityscapes import CityscapesDataset
from mmrobust.datasets.seeded_sampling import SeededIndex, SeededInfiniteSampler, SeededSampling

__all__ = ['CityscapesDataset', 'SeededIndex', 'SeededInfiniteSampler', 'SeededSampling', 'transforms']
