"""Weights of another model are refused by name."""

import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from tiny_run import Net, make_runner

from mmrobust.engine.strict_load import StrictLoadHook, require_fit


@pytest.fixture
def other_weights(tmp_path):
    weights = Net().state_dict()
    del weights['body.0.bias']
    weights['head.weight'] = torch.zeros(2)
    weights['body.4.weight'] = torch.zeros(7, 144)
    path = tmp_path / 'other.pth'
    torch.save({'state_dict': weights}, path)
    return str(path)


def load(tmp_path, path, **hook):
    make_runner(tmp_path, {'type': 'mmrobust.StrictLoadHook', **hook}).load_checkpoint(path)


def test_another_architecture_is_refused_key_by_key(tmp_path, other_weights):
    with pytest.raises(ValueError, match='another architecture') as info:
        load(tmp_path, other_weights)
    lines = str(info.value).splitlines()
    assert '1 missing, 1 unexpected, 1 of another shape, of 4' in lines[0]
    assert lines[1:] == [
        '  missing: body.0.bias (4,)',
        '  unexpected: head.weight',
        '  of another shape: body.4.weight (7, 144) instead of (1, 144)',
    ]


def test_not_strict_writes_it_into_the_log(tmp_path, other_weights):
    load(tmp_path, other_weights, strict=False)
    text = '\n'.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert 'missing: body.0.bias (4,)' in text


@pytest.mark.parametrize('wrap', [lambda weights: {'state_dict': weights}, dict])
def test_weights_of_a_wrapped_model_fit(tmp_path, wrap):
    path = tmp_path / 'own.pth'
    torch.save(wrap({f'module.{key}': value + 1 for key, value in Net().state_dict().items()}), path)
    load(tmp_path, str(path))


def test_none_of_it_fits_is_an_error_strict_or_not(tmp_path):
    torch.save({'blocks.0.attn.qkv.weight': torch.zeros(3, 3)}, tmp_path / 'vit.pth')
    with pytest.raises(ValueError, match=r'Net must fit some of its keys .*, got others \(blocks\.0\.attn'):
        load(tmp_path, str(tmp_path / 'vit.pth'), strict=False)


def test_every_config_gets_the_hook():
    ours, strict = {'type': 'mmrobust.StrictLoadHook'}, {'type': 'mmrobust.StrictLoadHook', 'strict': True}
    lenient = {'type': StrictLoadHook, 'strict': False}
    other = {'type': 'mmrobust.SeedIterationHook'}
    for hooks, testing, expected in (
        (None, True, [strict]),
        ([other], True, [other, strict]),
        ([ours, other], True, [strict, other]),
        ([lenient], True, [{**lenient, 'strict': True}]),
        ([lenient], False, [lenient]),
        (None, False, [{**ours, 'strict': False}]),
    ):
        config = Config({'custom_hooks': copy.deepcopy(hooks)} if hooks else {})
        require_fit(config, strict=testing)
        assert config.custom_hooks == expected


def test_a_subset_of_classes_is_said(caplog):
    """MMPretrain's metrics know nothing of the 200 classes of ImageNet-A."""
    for subset, said in ((None, 0), ((0, 2), 1)):
        data = SimpleNamespace(metainfo=dict(classes=('a', 'b', 'c'), subset=subset))
        loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=data))
        runner = SimpleNamespace(test_loop=loop, model=Net(), cfg={}, logger=logging.getLogger('subset'))
        StrictLoadHook().before_test(runner)
        assert len([record for record in caplog.records if 'among the subset' in record.message]) == said
