"""The systems of the paper's tables: configs, published numbers."""

from mmrobust.model_zoo.entries import Figure, ZooEntry, sources, zoo

__all__ = ['Figure', 'ZooEntry', 'sources', 'zoo']
