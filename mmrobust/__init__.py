"""Robust token attention for OpenMMLab: TAP, ADL, robust vision transformers, and robustness evaluation."""

import sys

from mmrobust import compat
from mmrobust.version import __version__

try:
    compat.prepare()
except ImportError as error:
    if 'mmrobust.check' not in sys.orig_argv:
        raise
    print(f'mmrobust.check: error: {error}', file=sys.stderr)  # what the command is asked for
    raise SystemExit(2) from None

__all__ = ['__version__', 'evaluate']


def __getattr__(name: str):
    if name == 'evaluate':  # at its first use, because it imports all of OpenMMLab
        compat.import_quietly('mmrobust.evaluation.evaluate')
        from mmrobust.evaluation.evaluate import evaluate

        return evaluate
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
