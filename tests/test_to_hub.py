"""A folder for the Hugging Face Hub: the same bits, read back by whoever takes a checkpoint."""

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file

from mmrobust.checkpoint import load_checkpoint_file
from mmrobust.cli import load_config
from mmrobust.complexity import build

TOOL = 'model_converters/to_hub.py'
CONFIG = Config(
    dict(
        default_scope='mmpretrain',
        model=dict(
            type='ImageClassifier',
            backbone=dict(
                type='mmrobust.FAN',
                arch=dict(embed_dims=16, depth=1, num_heads=2, feature_blocks=(0,)),
                tap_cfg=dict(num_branches=2),
                out_type='cls_token',
            ),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
        ),
    )
)


@pytest.fixture
def checkpoint() -> dict:
    """As MMEngine writes it; two of the tensors share memory, one is not contiguous, one holds whole numbers."""
    weights = build(CONFIG).state_dict()
    bias = torch.randn(2, 16)
    weights['backbone.norm.bias'], weights['backbone.norm.weight'] = bias
    weights['head.fc.weight'] = torch.randn(16, 3).T
    meta = dict(iter=7, dataset_meta=dict(classes=('a', 'b', 'c'), palette=np.eye(3, dtype=np.uint8)), seed=3)
    return dict(meta=meta, state_dict=weights, optimizer={})


def same_bits(expected: dict, got: dict) -> bool:
    return list(expected) == list(got) and all(
        value.dtype == got[key].dtype and torch.equal(value, got[key]) for key, value in expected.items()
    )


def test_round_trip(tool, tmp_path, checkpoint):
    tool.write_hub_folder(tmp_path / 'hub', CONFIG, checkpoint, 'tiny', 'apache-2.0')
    assert sorted(path.name for path in (tmp_path / 'hub').iterdir()) == ['README.md', 'config.py', 'model.safetensors']

    loaded = load_checkpoint_file(tmp_path / 'hub/model.safetensors')
    assert same_bits(dict(sorted(checkpoint['state_dict'].items())), dict(sorted(loaded['state_dict'].items())))
    assert loaded['meta'] == {
        'iter': 7,
        'dataset_meta': {'classes': ['a', 'b', 'c'], 'palette': [[1, 0, 0], [0, 1, 0], [0, 0, 1]]},
    }
    model = build(load_config(str(tmp_path / 'hub/config.py')))
    model.load_state_dict(CheckpointLoader.load_checkpoint(str(tmp_path / 'hub/model.safetensors'))['state_dict'])
    assert same_bits(checkpoint['state_dict'], model.state_dict())

    front_matter, title = (tmp_path / 'hub/README.md').read_text().split('---\n')[1:]
    assert yaml.safe_load(front_matter) == {
        'library_name': 'mmrobust',
        'license': 'apache-2.0',
        'pipeline_tag': 'image-classification',
        'tags': ['openmmlab', 'robustness'],
    }
    assert title.startswith('# tiny\n')


def test_weights_of_another_model_are_refused(tool, tmp_path, checkpoint):
    del checkpoint['state_dict']['head.fc.bias']
    with pytest.raises(ValueError, match=r'head\.fc\.bias'):
        tool.write_hub_folder(tmp_path / 'hub', CONFIG, checkpoint, 'tiny')
    assert not (tmp_path / 'hub').exists()


def test_backbone_takes_safetensors(tool, tmp_path, checkpoint):
    tool.write_hub_folder(tmp_path, CONFIG, checkpoint, 'tiny')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'model.safetensors'))
    backbone = build(
        Config(dict(CONFIG, model=CONFIG.model | dict(backbone=CONFIG.model.backbone | dict(init_cfg=init_cfg))))
    ).backbone
    backbone.init_weights()
    assert torch.equal(backbone.norm.bias, checkpoint['state_dict']['backbone.norm.bias'])


def test_safetensors_of_others(tmp_path):
    save_file({'w': torch.ones(2)}, tmp_path / 'a.safetensors')
    loaded = load_checkpoint_file(tmp_path / 'a.safetensors')
    assert loaded['meta'] == {} and loaded['state_dict']['w'].tolist() == [1, 1]


@pytest.mark.parametrize('part', [0, 0.1, 0.9])
def test_truncated_safetensors(tmp_path, part):
    path = tmp_path / 'a.safetensors'
    save_file({'w': torch.ones(1000)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ValueError, match=r'a\.safetensors \(\d+ bytes\) is truncated or no safetensors file'):
        load_checkpoint_file(path)


def test_tool(tool, tmp_path, checkpoint, capsys):
    CONFIG.dump(tmp_path / 'config.py')
    checkpoint['meta']['dataset_meta']['palette'] = [[0, 0, 0]]
    torch.save(checkpoint, tmp_path / 'a.pth')
    tool.main([str(tmp_path / 'config.py'), str(tmp_path / 'a.pth'), str(tmp_path / 'hub')])
    assert 'model.safetensors, config.py, README.md' in capsys.readouterr().out
    assert same_bits(
        dict(sorted(checkpoint['state_dict'].items())),
        dict(sorted(load_checkpoint_file(tmp_path / 'hub/model.safetensors')['state_dict'].items())),
    )
    with pytest.raises(SystemExit) as exit_:
        tool.main([str(tmp_path / 'config.py'), 'nowhere.pth', str(tmp_path / 'other')])
    assert exit_.value.code == 2 and 'There is no checkpoint' in capsys.readouterr().err


def test_half_precision(tool, tmp_path, checkpoint):
    tool.write_hub_folder(tmp_path / 'hub', CONFIG, checkpoint, 'tiny', half=True)
    loaded = load_checkpoint_file(tmp_path / 'hub/model.safetensors')['state_dict']
    for key, value in checkpoint['state_dict'].items():
        assert torch.equal(loaded[key], value.half() if value.is_floating_point() else value), key
    checkpoint['state_dict']['head.fc.bias'] = torch.full((3,), 1e5)
    with pytest.raises(ValueError, match=r'float16 must hold finite weights, got .* in head\.fc\.bias'):
        tool.write_hub_folder(tmp_path / 'hub', CONFIG, checkpoint, 'tiny', half=True)
