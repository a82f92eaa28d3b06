"""All raw numbers of an experiment as one JSON, and what is known about how they were made."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiment.arms import ADL, BASELINE, POOLING
from experiment.profiles import PRIMARY
from mmrobust.files import read_json, write_whole
from mmrobust.version import __version__

ABOUT = 'about.json'
PLAN = ('first', 'second', 'follow_up')  # what the runs themselves say
DIGITS = 6


def write_about(out: Path, asked: dict[str, Any], profile: dict[str, Any], fingerprint: str, device: str) -> None:
    """What was asked for, where, and with which code; earlier commands on the same folder stay listed."""
    path = out / ABOUT
    before = read_json(path) if path.is_file() else {}
    name = torch.cuda.get_device_name(device) if device.startswith('cuda') else _processor()
    about = dict(
        primary_endpoint=PRIMARY,
        profile={key: value for key, value in profile.items() if key not in PLAN},
        images=fingerprint,
        device=name,
        versions=dict(
            mmrobust=__version__, torch=torch.__version__, numpy=np.__version__, python=sys.version.split()[0]
        ),
        commands=[*before.get('commands', ()), *([asked] if asked not in before.get('commands', ()) else ())],
        commits=[*dict.fromkeys((*before.get('commits', ()), _commit()))],
    )
    write_whole(path, json.dumps(about, indent=2) + '\n')


def collect(out: Path) -> str:
    """JSON of all runs in a folder, numbers rounded to six digits.

    Raises:
        FileNotFoundError: there is no run.
    """
    runs = [read_json(path) for path in sorted((out / 'runs').glob('*.json'))]
    if not runs:
        raise FileNotFoundError(f'there is no run in {out / "runs"}: leave out --summarise')
    about = read_json(out / ABOUT)
    for one in runs:
        del one['identity']  # the same for all but for the arm, and in the profile
    order = [BASELINE, *ADL, *POOLING]  # others come last
    runs.sort(key=lambda one: (one['seed'], order.index(one['arm']) if one['arm'] in order else len(order), one['arm']))
    lines = ',\n'.join(f'    {json.dumps(_rounded(one))}' for one in runs)
    head = json.dumps(about, indent=2)[:-2]
    return f'{head},\n  "runs": [\n{lines}\n  ]\n}}\n'


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f'{value:.{DIGITS}g}') if isinstance(value, float) else value


def _processor() -> str:
    lines = Path('/proc/cpuinfo').read_text().splitlines() if Path('/proc/cpuinfo').is_file() else []
    return next((line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')), platform.machine())


def _commit() -> str:
    """Of this checkout; with ``-dirty`` where tracked files were changed, and 'unknown' outside of one."""
    command = ['git', '-C', str(Path(__file__).parent), 'describe', '--always', '--dirty', '--abbrev=12']
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or 'unknown'
