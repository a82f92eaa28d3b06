"""Robust token attention for OpenMMLab: TAP, ADL, robust vision transformers, and robustness evaluation."""

from mmrobust import compat
from mmrobust.version import __version__

compat.prepare()

__all__ = ['__version__', 'evaluate']


def __getattr__(name: str):
    if name == 'evaluate':  # at its first use, because it imports all of OpenMMLab
        compat.import_quietly('mmrobust.evaluation.evaluate')
        from mmrobust.evaluation.evaluate import evaluate

        return evaluate
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
