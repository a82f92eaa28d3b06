"""CPU time of a corruption, here and in imagecorruptions, and of loading corrupted images, without a model."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from imagecorruptions import corrupt as reference  # the distribution imagecorruptions-imaug
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from mmrobust import datasets  # noqa: F401  (registers the transforms)
from mmrobust.corruptions import CORRUPTIONS, corrupt
from performance.measure import Measurement, measure


def photograph(width: int, height: int) -> np.ndarray:
    """A random image ``(height, width, 3)`` with smooth structure and texture, as a photograph has both."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.add(image, rng.integers(0, 20, image.shape, dtype=np.uint8))


def beside_imagecorruptions(
    name: str, image: np.ndarray, severity: int, runs: int, between: Callable[[int], Any] = lambda run: None
) -> tuple[float, float]:
    """Median CPU seconds of a corruption here and in imagecorruptions, on one thread, in turn.

    Args:
        name: of the corruption.
        image: ``(H, W, 3)`` in 0 to 255.
        severity: 1 to 5.
        runs: of each, after a first one that does not count: numba compiles in it.
        between: called after every pair with its number; 0 is the one that does not count.
    """
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    times = []
    for run in range(runs + 1):
        ours = _cpu_seconds(lambda: corrupt(image, name, severity, rng))
        times.append((ours, _cpu_seconds(lambda: reference(image, severity, corruption_name=name))))
        between(run)
    ours, theirs = (statistics.median(column) for column in zip(*times[1:], strict=True))
    return ours, theirs


def suite_beside_imagecorruptions(image: np.ndarray, severity: int, runs: int) -> tuple[float, float]:
    """:func:`beside_imagecorruptions` of all corruptions together: a suite runs each as often as the others."""
    pairs = [beside_imagecorruptions(name, image, severity, runs) for name in CORRUPTIONS]
    ours, theirs = map(sum, zip(*pairs, strict=True))
    return ours, theirs


def loading(corruption: str | None, height: int, width: int, repeats: int) -> Measurement:
    """Read a PNG and corrupt it at severity 3, as the evaluation on Cityscapes-C does; None only reads."""
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder, DefaultScope.overwrite_default_scope('mmseg'):
        path = str(Path(folder) / 'image.png')
        noisy = cv2.resize(rough, (width, height)).astype(np.int16) + rng.integers(-8, 9, (height, width, 3))
        cv2.imwrite(path, noisy.clip(0, 255).astype(np.uint8))
        steps = [dict(type='mmrobust.LoadImageFromFile')]
        if corruption is not None:
            steps.append(dict(type='mmrobust.Corrupt', corruption=corruption, severity=3, data_root=folder))
        pipeline = Compose(steps)
        return measure(lambda: pipeline(dict(img_path=path)), repeats)


def _cpu_seconds(call: Callable[[], Any]) -> float:
    """CPU time of one call: unlike wall time it does not count other processes of a shared machine."""
    start = time.process_time()
    call()
    return time.process_time() - start
