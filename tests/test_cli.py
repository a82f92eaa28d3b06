"""What importing the tools' common part costs and says."""

import subprocess
import sys


def test_models_are_imported_when_needed_and_quietly():
    code = 'from mmrobust import cli; import sys; assert not {"mmseg.models", "mmpretrain.models"} & {*sys.modules}'
    code += '; import mmseg.apis, mmpretrain.models, mmrobust.datasets'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')
