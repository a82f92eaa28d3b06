"""Every shipped config: it parses, it builds, and ablations differ from their baseline in nothing but TAP and ADL."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

CONFIGS = Path(__file__).parents[1] / 'configs'
LEAVES = sorted(CONFIGS.glob('*.py'))
TAP = {'type': 'mmrobust.TokenAwareAvgPool', 'num_branches': 4}
ADL = {'type': 'mmrobust.AttentionDiversificationLoss', 'tau': 2.0, 'loss_weight': 1.0}

every_leaf = pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)


def test_there_are_configs():
    names = {path.stem for path in LEAVES}
    assert {
        f'fan{kind}_{data}' for kind in ('', '_tap', '_adl', '_tap_adl') for data in ('cityscapes', 'minicity')
    } <= names


@every_leaf
def test_round_trip(path, tmp_path):
    config = Config.fromfile(path)
    config.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == config.to_dict()


@every_leaf
def test_says_what_it_is(path):
    assert path.read_text().startswith('"""')
    assert 'optimizer' in Config.fromfile(path).optim_wrapper


@every_leaf
def test_model_builds(path):
    config = Config.fromfile(path)
    with torch.device('meta'):
        model = MODELS.build(config.model)
    assert (model.loss_attn is not None) == ('_adl_' in path.stem)
    assert (model.backbone.blocks[0].tap is not None) == ('_tap_' in path.stem)


@every_leaf
def test_ablation_differs_only_in_tap_and_adl(path):
    config = Config.fromfile(path).to_dict()
    baseline = Config.fromfile(CONFIGS / f'fan_{path.stem.split("_")[-1]}.py').to_dict()
    if '_tap_' in path.stem:
        assert config['model']['backbone'].pop('tap_cfg') == TAP
    if '_adl_' in path.stem:
        assert config['model'].pop('loss_attn') == ADL
    assert config == baseline


def test_recipe_of_the_paper():
    config = Config.fromfile(CONFIGS / 'fan_tap_adl_cityscapes.py')
    assert config.train_cfg.max_iters == 160_000
    assert config.optim_wrapper.optimizer == dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01)
    assert config.model.test_cfg == dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768))
    crop = next(step for step in config.train_dataloader.dataset.pipeline if step.type == 'RandomCrop')
    assert crop.crop_size == config.model.data_preprocessor.size == (1024, 1024)
