"""The systems of the paper's tables: configs, published numbers, measured numbers."""

from mmrobust.model_zoo.entries import Figure, ZooEntry, sources, zoo
from mmrobust.model_zoo.sizes import TOLERANCE, Comparison, Size, compare, size_of

# not measured.py: it imports benchmarks, which import the tables of this package
__all__ = ['TOLERANCE', 'Comparison', 'Figure', 'Size', 'ZooEntry', 'compare', 'size_of', 'sources', 'zoo']
