"""``python -m mmrobust.check``: what is installed, which data are there, and what a file of weights is."""

from mmrobust.check.weights import Description, describe

__all__ = ['Description', 'describe']
