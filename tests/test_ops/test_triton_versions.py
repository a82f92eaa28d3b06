"""The kernels compile with every Triton that goes with a supported torch, from 3.4 (torch 2.8) to 3.8 (torch 2.14)."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSIONS = ('3.4.0', '3.5.1', '3.6.0', '3.7.0')  # and the installed one, with which the other tests compile


@pytest.mark.slow
@pytest.mark.parametrize('wanted', VERSIONS)
def test_version(wanted, tmp_path):
    """For two architectures each; the version comes from the package index, into a folder of its own."""
    pytest.importorskip('triton')
    install = [sys.executable, '-m', 'pip', 'install', '--no-deps', '--target', str(tmp_path), f'triton=={wanted}']
    installed = subprocess.run(install, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f'triton {wanted} cannot be installed: {installed.stderr.strip().splitlines()[-1]}')
    environment = os.environ | {'PYTHONPATH': os.pathsep.join([str(tmp_path), str(ROOT)])}
    code = 'import triton; print(triton.__version__)'
    found = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == wanted != version('triton')
    files = ['tests/test_ops/test_attention_diversification_triton.py', 'tests/test_ops/test_token_pooling_triton.py']
    command = [sys.executable, '-m', 'pytest', '-q', '-k', 'compiles', *files]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
    assert ' passed' in run.stdout and 'failed' not in run.stdout
