"""Weights of another model are refused by name."""

import pytest
import torch
from tiny_run import Net, make_runner


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
