"""The weights that are shipped are small, and give the numbers that are written beside them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config

import mmrobust
from mmrobust.check import describe
from mmrobust.checkpoint import load_checkpoint_file
from mmrobust.cli import load_config
from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from mmrobust.evaluation.models.segmentation import SegmentationModel

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = Path(mmrobust.__file__).parent / 'model_zoo' / 'fan_mini_tap_adl_minicity.safetensors'
CONFIG = ROOT / 'configs' / 'fan_mini_tap_adl_minicity.py'
MIOU_OF_FOUR = 41.26  # percent, on the first four streets of MiniCity's validation


def _miou(config: Config, weights: str) -> float:
    """Percent, over the classes that occur in labels or predictions; from the definition."""
    confusion = np.zeros((19, 19))
    for found in SegmentationModel(config, weights, num_workers=0).predict(config.test_dataloader.dataset):
        seen = found.label != 255
        np.add.at(confusion, (found.label[seen], found.classes[seen]), 1)
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    return 100 * float(np.mean((confusion.diagonal() / np.maximum(union, 1))[union > 0]))


def test_numbers_of_the_shipped_file(tmp_path):
    write_minicity(tmp_path / 'minicity', MiniCityParams(num_train=1, num_val=4, num_acdc=0))
    config = load_config(str(CONFIG), {'test_dataloader.dataset.data_root': str(tmp_path / 'minicity')})
    assert _miou(config, str(WEIGHTS)) == pytest.approx(MIOU_OF_FOUR, abs=0.1)
    other = load_checkpoint_file(WEIGHTS)
    other['state_dict']['backbone.patch_embed.proj.weight'] *= 0
    torch.save(other, tmp_path / 'other.pth')
    assert _miou(config, str(tmp_path / 'other.pth')) != pytest.approx(MIOU_OF_FOUR, abs=0.1), (
        'the test would see nothing'
    )


def test_what_is_shipped():
    assert WEIGHTS.stat().st_size < 700_000
    found = describe(WEIGHTS)
    assert tuple(found.origin) == ('mmrobust', 'FAN', 'segmentor')
    assert found.dtypes == ('float16',) and found.class_names[0] == 'road'
    assert found.use.endswith('CONFIG was fan_mini_tap_adl_minicity')
    models = yaml.safe_load((ROOT / 'configs' / 'metafile.yml').read_text())['Models']
    (listed,) = [model for model in models if 'Weights' in model]
    assert ROOT / listed['Weights'] == ROOT / 'mmrobust' / 'model_zoo' / WEIGHTS.name
    assert listed['Config'] == f'configs/{CONFIG.name}'
