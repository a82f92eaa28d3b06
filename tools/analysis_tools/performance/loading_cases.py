"""How fast corrupted pictures are loaded, by one process and without a model."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from mmrobust import datasets  # noqa: F401  (registers the transforms)
from performance.measure import Measurement, measure


def loading(corruption: str | None, height: int, width: int, repeats: int) -> Measurement:
    """Read a PNG and corrupt it at severity 3, as the evaluation on Cityscapes-C does; None only reads."""
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder, DefaultScope.overwrite_default_scope('mmseg'):
        path = str(Path(folder) / 'picture.png')
        picture = cv2.resize(rough, (width, height)).astype(np.int16) + rng.integers(-8, 9, (height, width, 3))
        cv2.imwrite(path, picture.clip(0, 255).astype(np.uint8))
        steps = [dict(type='mmrobust.LoadImageFromFile')]
        if corruption is not None:
            steps.append(dict(type='mmrobust.Corrupt', corruption=corruption, severity=3, data_root=folder))
        pipeline = Compose(steps)
        return measure(lambda: pipeline(dict(img_path=path)), repeats)
