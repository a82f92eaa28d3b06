"""Where the reference values lie: this folder's own, or another named by ``MMROBUST_GOLDENS``."""

import os
from pathlib import Path

OWN = Path(__file__).parent / 'goldens'


def golden_folder() -> Path:
    folder = Path(os.environ.get('MMROBUST_GOLDENS', OWN))
    if not folder.is_dir():
        raise FileNotFoundError(f'MMROBUST_GOLDENS names {folder}, which is not a folder')
    return folder
