"""Child registries: ``type='mmrobust.FAN'`` works from an MMSegmentation or MMPretrain config.

MMEngine imports this module when it meets the prefix ``mmrobust.`` and then the ``locations`` below, so a config needs
no ``custom_imports``; shipped configs name them all the same, because a missing installation then gives a clear error.
"""

from typing import Any

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

# the registries alone, which the documentation lists
__all__ = ['BENCHMARKS', 'DATASETS', 'DATA_SAMPLERS', 'HOOKS', 'MODELS', 'OPTIM_WRAPPER_CONSTRUCTORS', 'TRANSFORMS']

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='mmrobust', locations=['mmrobust.models'])
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='mmrobust', locations=['mmrobust.datasets'])
TRANSFORMS = Registry(
    'transform', parent=MMENGINE_TRANSFORMS, scope='mmrobust', locations=['mmrobust.datasets.transforms']
)
DATA_SAMPLERS = Registry(
    'data sampler', parent=MMENGINE_DATA_SAMPLERS, scope='mmrobust', locations=['mmrobust.datasets']
)
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmrobust', locations=['mmrobust.engine'])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmrobust',
    locations=['mmrobust.engine'],
)
# no parent: MMEngine knows no benchmarks
BENCHMARKS = Registry('benchmark', scope='mmrobust', locations=['mmrobust.evaluation.benchmarks'])


def type_name(kind: Any) -> str:
    """Name of a ``type`` in a config, without its scope: ``'FAN'`` of ``'mmrobust.FAN'`` and of the class itself."""
    return getattr(kind, '__name__', str(kind or '')).rpartition('.')[2]
