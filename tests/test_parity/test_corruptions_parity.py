"""Corruptions against what imagecorruptions made of the same image.

``corruptions_*.npz`` holds an ``image`` and the exact result of the deterministic corruptions, as
``<corruption>_<severity>``; ``corruptions_*.json`` says of each such key whether it is deterministic and, where it is
not, what was seen in a number of runs: mean and standard deviation of the PSNR against the image, of the result's mean
and of its standard deviation.

The files here are ``visible``, a cut of what was measured on the reference implementation, and ``small``, a part of
its image with all deterministic corruptions by imagecorruptions-imaug 1.1.5, which equals that implementation.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mmrobust.corruptions import corrupt

from .conftest import golden_folder

RUNS = 16
# Standard errors. The recorded deviations come from 16 runs, so the difference in units of them follows Student's t
# with about 30 degrees of freedom: one value in a million is beyond 6, and a file has 165.
STANDARD_ERRORS = 6

FILES = sorted(golden_folder().glob('corruptions_*.json'))
ENTRIES = [(path, key, entry) for path in FILES for key, entry in json.loads(path.read_text()).items()]


def cases(deterministic: bool) -> list:
    return [
        pytest.param(path, key, entry, id=f'{path.stem}-{key}')
        for path, key, entry in ENTRIES
        if entry['deterministic'] == deterministic
    ]


@cache
def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path.with_suffix('.npz')) as stored:
        return dict(stored)


def corrupted(path: Path, key: str, seed: int) -> np.ndarray:
    name, _, severity = key.rpartition('_')
    return corrupt(arrays(path)['image'], name, int(severity), np.random.default_rng(seed))


def measured(image: np.ndarray, result: np.ndarray) -> dict[str, float]:
    error = np.mean((image.astype(np.float64) - result) ** 2)
    return {'psnr': 10 * np.log10(255**2 / error), 'mean': result.mean(), 'std': result.std()}


@pytest.mark.skipif(not FILES, reason='no corruptions_*.json in the golden folder')
def test_every_exact_result_is_listed():
    for path in FILES:
        listed = {key for file, key, entry in ENTRIES if file == path and entry['deterministic']}
        assert listed == set(arrays(path)) - {'image'}


@pytest.mark.parametrize(('path', 'key', 'entry'), cases(deterministic=True))
def test_deterministic(path, key, entry):
    result, expected = corrupted(path, key, seed=0), arrays(path)[key]
    difference = np.abs(result.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.01
    for quantity, value in measured(arrays(path)['image'], result).items():
        # a level more or less in 1 value of 100
        assert value == pytest.approx(entry[quantity], abs=0.02)


@pytest.mark.parametrize(('path', 'key', 'entry'), cases(deterministic=False))
def test_random(path, key, entry):
    image = arrays(path)['image']
    runs = [measured(image, corrupted(path, key, seed)) for seed in range(RUNS)]
    for quantity in ('psnr', 'mean', 'std'):
        values = np.array([run[quantity] for run in runs])
        recorded = entry[f'{quantity}_sd']
        error = np.sqrt(recorded**2 / entry['runs'] + values.var(ddof=1) / RUNS)
        assert values.mean() == pytest.approx(entry[quantity], abs=STANDARD_ERRORS * error), quantity
        # the spread over runs too: a ratio of variances of 16 runs each is above 13 once in a million times
        assert 13**-0.5 < values.std(ddof=1) / recorded < 13**0.5, quantity
