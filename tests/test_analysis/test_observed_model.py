"""Which weights a model takes whose attention is observed."""

import pytest
import torch
from mmengine.config import Config

from mmrobust.analysis.observed_model import ObservedModel
from mmrobust.models import FAN, Swin
from tests.test_models.test_backbones.released import as_released

FAN_ARCH = dict(embed_dims=16, depth=3, num_heads=2, feature_blocks=(0, 1, 2))
SWIN_ARCH = dict(embed_dims=8, depth=(1, 1), num_heads=(1, 2), window_size=4)
BACKBONES = {
    'timm': dict(type='mmrobust.TimmViT', model_name='test_vit', img_size=32, out_type='cls_token'),
    'released FAN': dict(type='mmrobust.FAN', arch=FAN_ARCH, out_type='cls_token'),
    'own Swin': dict(type='mmrobust.Swin', arch=SWIN_ARCH, out_type='avg_featmap', out_indices=(1,)),
}


def _config(backbone: dict) -> Config:
    head = dict(type='LinearClsHead', num_classes=3, in_channels=16)
    model = dict(type='ImageClassifier', backbone=backbone, head=head)
    return Config(dict(default_scope='mmpretrain', model=model, test_dataloader=dict(dataset=dict(pipeline=[]))))


def _weights(name: str) -> tuple[dict, str, torch.Tensor]:
    """A backbone's weights as they are published, and one of them: its name in the backbone, and its value."""
    if name == 'timm':
        timm = pytest.importorskip('timm')
        weights = timm.create_model('test_vit', img_size=32).state_dict()
        return weights, 'blocks.1.attn.qkv.weight', weights['blocks.1.attn.qkv.weight']
    if name == 'released FAN':
        own = FAN(FAN_ARCH, out_type='cls_token').state_dict()
        weights = {f'module.{key}': value for key, value in as_released(own).items()}
        return (
            weights | {'module.aux_head.bias': torch.ones(3)},
            'blocks.1.attn.q.weight',
            own['blocks.1.attn.q.weight'],
        )
    weights = Swin(SWIN_ARCH, out_type='avg_featmap', out_indices=(1,)).state_dict()
    return weights, 'blocks.1.attn.qkv.weight', weights['blocks.1.attn.qkv.weight']


@pytest.mark.filterwarnings('ignore:1 keys of an auxiliary head')
@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize('frame', [dict, lambda weights: {'model': weights}, lambda weights: {'state_dict': weights}])
def test_weights_of_the_backbone_alone(tmp_path, name, frame):
    weights, key, value = _weights(name)
    torch.save(frame(weights), tmp_path / 'weights.pth')
    observed = ObservedModel(_config(BACKBONES[name]), str(tmp_path / 'weights.pth'))
    assert torch.equal(observed.backbone.state_dict()[key], value)


def _in_timm_classifier(name: str) -> Config:
    model = dict(type='TimmClassifier', model_name=name)
    return Config(dict(default_scope='mmpretrain', model=model, test_dataloader=dict(dataset=dict(pipeline=[]))))


def test_network_of_a_timm_classifier(tmp_path):
    """Its attention, with the weights of the file, at any size; the network itself is as it was."""
    weights, key, value = _weights('timm')
    torch.save(weights, tmp_path / 'weights.pth')
    observed = ObservedModel(_in_timm_classifier('test_vit'), str(tmp_path / 'weights.pth'))
    network = observed.model.model
    assert torch.equal(network.state_dict()[key], value)
    assert network.patch_embed.img_size == (160, 160) and not any(part.training for part in observed.backbone.modules())
    maps = observed.observe(torch.randn(1, 3, 32, 64), lambda view: view.probs())
    assert len(maps) == 6 and {probs.shape for probs in maps} == {(1, 2, 9, 9)}


def test_other_networks_of_timm_have_no_attention_to_observe(tmp_path):
    torch.save({}, tmp_path / 'weights.pth')
    with pytest.raises(ValueError, match=r'must name a VisionTransformer or Eva of timm, got .*ResNet'):
        ObservedModel(_in_timm_classifier('test_resnet'), str(tmp_path / 'weights.pth'))


def test_weights_of_another_backbone_are_refused(tmp_path):
    weights, *_ = _weights('timm')
    del weights['blocks.0.attn.qkv.weight']
    torch.save(weights, tmp_path / 'weights.pth')
    with pytest.raises(ValueError, match=r'weights\.pth does not fit the model, keys 1 missing, 0 unexpected'):
        ObservedModel(_config(BACKBONES['timm']), str(tmp_path / 'weights.pth'))
