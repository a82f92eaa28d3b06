"""``python -m mmrobust.check``: what is installed, which data are there, and what a file of weights is."""

from mmrobust import compat

compat.import_quietly('mmrobust.check.weights')  # which imports all of OpenMMLab
from mmrobust.check.weights import Description, describe  # noqa: E402

__all__ = ['Description', 'describe']
