import gc
import os
import warnings

# tests compute little: on many cores, beside other processes, threads wait for each other for most of the time
os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest
import torch

import mmrobust  # noqa: F401
from tests.tool_loading import load_tool

torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))  # also where torch was there before


def pytest_runtest_setup(item):
    if item.get_closest_marker('gpu') and not torch.cuda.is_available():
        pytest.skip('needs a GPU')


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _scope():
    """Configs are written for MMSegmentation's scope."""
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture(scope='session', autouse=True)
def _quiet():
    warnings.filterwarnings('ignore', message='.*starts from random weights.*')


@pytest.fixture(scope='module', autouse=True)
def _fast_garbage_collection():
    """MMEngine collects garbage whenever it builds a dataset: 0.3 s with all that OpenMMLab has imported."""
    gc.freeze()


@pytest.fixture(scope='module')
def tool(request):
    """The command line tool that a file of tests names in ``TOOL``, as a module."""
    return load_tool(request.module.TOOL)


@pytest.fixture
def tiny_hybrid() -> dict:
    """A Hybrid of two blocks for images of a few dozen pixels."""
    return dict(embed_dims=16, depth=2, num_heads=2, stem_depths=(1, 1), feature_blocks=(1,))
