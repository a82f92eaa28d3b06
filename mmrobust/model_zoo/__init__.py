"""The systems of the paper's tables: what builds them, what is published on them, what was measured."""

from mmrobust.model_zoo.entries import Figure, ZooEntry, sources, zoo
from mmrobust.model_zoo.measured import Measured, read_measured
from mmrobust.model_zoo.sizes import TOLERANCE, Comparison, Size, compare, size_of

__all__ = [
    'TOLERANCE',
    'Comparison',
    'Figure',
    'Measured',
    'Size',
    'ZooEntry',
    'compare',
    'read_measured',
    'size_of',
    'sources',
    'zoo',
]
