"""Robust token attention for OpenMMLab: TAP, ADL, robust vision transformers, and the tools that prove them."""

from mmrobust import compat
from mmrobust.version import __version__

compat.prepare()

__all__ = ['__version__']
