"""``type='mmrobust.X'`` works in a config of MMSegmentation or MMPretrain that never names mmrobust elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize('package', ['mmseg', 'mmpretrain'])
def test_prefix_is_enough(package):
    code = f"""
import sys
from {package}.registry import DATASETS, HOOKS, MODELS
assert 'mmrobust' not in sys.modules
for registry, name in ((MODELS, 'FAN'), (DATASETS, 'CityscapesDataset'), (HOOKS, 'StrictLoadHook')):
    found = registry.get('mmrobust.' + name)
    assert found is not None and found.__module__.startswith('mmrobust.'), (name, found)
"""
    # a fresh process: in this one the other tests have imported mmrobust
    result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
