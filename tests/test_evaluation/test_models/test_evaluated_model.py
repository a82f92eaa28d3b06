"""Which weights a model is evaluated with: those of a checkpoint or of the config, all of them, or none."""

import hashlib
import os

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from mmrobust.checkpoint import register_safe_loader
from mmrobust.evaluation.models.classification import ClassificationModel

BACKBONE = dict(type='mmrobust.FAN', arch=dict(embed_dims=16, depth=1, num_heads=2, feature_blocks=(0,)))
CLASSIFIER = dict(
    type='ImageClassifier',
    backbone=dict(**BACKBONE, out_type='cls_token'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
)
TIMM = dict(type='TimmClassifier', model_name='test_vit', num_classes=3, img_size=32)


def _config(model: dict) -> Config:
    dataset = dict(pipeline=[])
    return Config(dict(default_scope='mmpretrain', model=model, test_dataloader=dict(dataset=dataset)))


def _random_weights(model: dict) -> dict[str, torch.Tensor]:
    """Weights that no initialisation gives, also of what is initialised to a constant."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        state_dict = MODELS.build(Config(model)).state_dict()
    return {key: torch.randn_like(value) if value.is_floating_point() else value for key, value in state_dict.items()}


def _is_evaluated(model: ClassificationModel, weights: dict[str, torch.Tensor]) -> bool:
    found = model.model.state_dict()
    return found.keys() == weights.keys() and all(torch.equal(found[key], weights[key]) for key in weights)


@pytest.fixture
def classifier(tmp_path):
    """Weights of a classifier, and the file that holds them."""
    weights = _random_weights(CLASSIFIER)
    torch.save({'state_dict': weights}, tmp_path / 'classifier.pth')
    return weights, str(tmp_path / 'classifier.pth')


@pytest.mark.parametrize('name', ['test_vit', 'test_resnet'])  # with init_weights() of timm's own, and with numbers
def test_timms_own_weights_stay_as_timm_loaded_them(tmp_path, name):
    pytest.importorskip('timm')
    model = dict(type='TimmClassifier', model_name=name, num_classes=3)
    weights = _random_weights(model)
    torch.save(weights, tmp_path / 'timm.pth')
    own = dict(file=str(tmp_path / 'timm.pth'), num_classes=3)
    evaluated = ClassificationModel(_config(model | dict(pretrained=True, pretrained_cfg_overlay=own)), None)
    assert _is_evaluated(evaluated, weights)
    found = evaluated.identity['checkpoint_sha256']
    given = ClassificationModel(_config(model), str(tmp_path / 'timm.pth'))
    given.checkpoint = None
    assert found == given.identity['checkpoint_sha256'], 'the same weights, the same hash'


def test_timms_own_weights_of_other_classes_are_refused(tmp_path):
    pytest.importorskip('timm')
    torch.save(_random_weights(TIMM | dict(num_classes=5)), tmp_path / 'timm.pth')
    own = dict(file=str(tmp_path / 'timm.pth'), num_classes=5)
    with pytest.raises(ValueError, match='a checkpoint is needed'):
        ClassificationModel(_config(TIMM | dict(pretrained=True, pretrained_cfg_overlay=own)), None)


@pytest.mark.parametrize('how', ['init_cfg', 'pretrained'])
def test_weights_of_the_whole_model_in_the_config(classifier, how):
    weights, file = classifier
    named = {'init_cfg': dict(type='Pretrained', checkpoint=file), 'pretrained': file}
    evaluated = ClassificationModel(_config(CLASSIFIER | {how: named[how]}), None)
    assert _is_evaluated(evaluated, weights) and evaluated.checkpoint == file
    with open(file, 'rb') as opened:
        assert evaluated.identity['checkpoint_sha256'] == hashlib.sha256(opened.read()).hexdigest()


@pytest.mark.parametrize(
    'change',
    [
        {},
        {'backbone': CLASSIFIER['backbone'] | dict(init_cfg=dict(type='Pretrained', checkpoint='FILE'))},
        {'init_cfg': dict(type='Pretrained', checkpoint='FILE', prefix='backbone.')},
        {'init_cfg': dict(type='TruncNormal', layer='Linear', std=0.02)},
        {'pretrained': True},
    ],
    ids=['none', 'backbone', 'part', 'initialisation', 'no file'],
)
def test_a_random_head_is_refused(change):
    with pytest.raises(ValueError, match=r'^a checkpoint is needed, .* of the whole model, .* backbone alone'):
        ClassificationModel(_config(CLASSIFIER | change), None)


def test_weights_in_the_config_that_do_not_fit(classifier, tmp_path):
    weights, _ = classifier
    torch.save({key: value for key, value in weights.items() if 'head' not in key}, tmp_path / 'backbone.pth')
    with pytest.raises(ValueError, match='keys 2 missing, 0 unexpected'):
        ClassificationModel(_config(CLASSIFIER | dict(pretrained=str(tmp_path / 'backbone.pth'))), None)


def test_checkpoint_at_an_address(classifier, tmp_path, monkeypatch):
    weights, file = classifier
    register_safe_loader()
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', lambda url, target, *_, **__: os.link(file, target))
    evaluated = ClassificationModel(_config(CLASSIFIER), 'https://host/classifier.pth')
    assert _is_evaluated(evaluated, weights)
    first = evaluated.identity['checkpoint_sha256']
    again = ClassificationModel(_config(CLASSIFIER), 'https://host/classifier.pth')
    assert again.identity['checkpoint_sha256'] == first
    again.model.head.fc.bias.data[0] += 1
    del again.identity
    assert again.identity['checkpoint_sha256'] != first
