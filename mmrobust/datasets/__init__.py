"""Datasets, their transforms and samplers."""

from mmrobust.datasets import transforms
from mmrobust.datasets.acdc import ACDCDataset
from mmrobust.datasets.cifar_c import CIFARC
from mmrobust.datasets.cityscapes import CityscapesDataset
from mmrobust.datasets.corrupted import corrupted_dataset
from mmrobust.datasets.domains import DomainDataset
from mmrobust.datasets.drawn_weather import DrawWeather
from mmrobust.datasets.image_folder import ImageFolder
from mmrobust.datasets.imagenet_p import ImageNetP
from mmrobust.datasets.imagenet_variants import ImageNetVariant
from mmrobust.datasets.seeded_sampling import (
    SeededEpochSampler,
    SeededIndex,
    SeededInfiniteSampler,
    SeededRepeatAugSampler,
    SeededSampling,
)

__all__ = [
    'CIFARC',
    'ACDCDataset',
    'CityscapesDataset',
    'DomainDataset',
    'DrawWeather',
    'ImageFolder',
    'ImageNetP',
    'ImageNetVariant',
    'SeededEpochSampler',
    'SeededIndex',
    'SeededInfiniteSampler',
    'SeededRepeatAugSampler',
    'SeededSampling',
    'corrupted_dataset',
    'transforms',
]
