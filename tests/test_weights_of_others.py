"""Weights of timm and released ones, as they are, in training, evaluation and analysis: the same logits as at home."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import load_state_dict
from PIL import Image
from safetensors.torch import save_file

import mmrobust
from mmrobust import cli
from mmrobust.analysis.observed_model import ObservedModel
from mmrobust.checkpoint import adapted_to, fitting, load_checkpoint_file, weights_of
from mmrobust.complexity import build
from mmrobust.engine.strict_load import StrictLoadHook
from mmrobust.evaluation.models.classification import ClassificationModel
from mmrobust.models import FAN, TimmViT
from mmrobust.models.backbones.released_weights import convert_fan_segmentor
from tests.test_models.test_backbones.released import as_released
from tests.test_models.test_decode_heads import HEAD_KEYS
from tests.tool_loading import load_tool

timm = pytest.importorskip('timm')

SIZE = 32
CLASSES = 5
ARCH = dict(embed_dims=16, depth=3, num_heads=2, feature_blocks=(0, 1, 2))


def _timm(name: str = 'test_vit', **settings) -> torch.nn.Module:
    network = timm.create_model(name, img_size=SIZE, num_classes=CLASSES, depth=2, **settings).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # so that nothing is zero, as distilled heads are
            parameter.normal_(std=0.1)
    return network


def _config(name: str = 'test_vit', **backbone) -> Config:
    distilled = 'distilled' in name
    backbone = dict(type='mmrobust.TimmViT', model_name=name, img_size=SIZE, depth=2, **backbone)
    backbone['out_type'] = 'cls_dist_tokens' if distilled else 'cls_token'
    head = dict(type='DeiTClsHead' if distilled else 'LinearClsHead', num_classes=CLASSES, in_channels=None)
    model = dict(type='mmrobust.RobustImageClassifier', backbone=backbone, head=head)
    return Config(dict(default_scope='mmpretrain', model=model, test_dataloader=dict(dataset=dict(pipeline=[]))))


def _assert_same_logits(model: torch.nn.Module, network: torch.nn.Module) -> None:
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        found, expected = model.eval().head(model.extract_feat(images)), network(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def _saved(folder, content: dict) -> str:
    torch.save(content, folder / 'weights.pth')
    return str(folder / 'weights.pth')


@pytest.mark.parametrize('name', ['test_vit', 'deit_tiny_distilled_patch16_224', 'deit3_small_patch16_224'])
def test_a_whole_classifier(name):
    network = _timm(name)
    model = build(_config(name))
    model.load_state_dict(fitting(model, network.state_dict(), 'x.pth'))
    _assert_same_logits(model, network)


FRAMES = {
    'bare': dict,
    'DDP': lambda weights: {'state_dict': {f'module.{key}': value for key, value in weights.items()}},
    'DeiT': lambda weights: {'model': weights, 'optimizer': {'state': {}}, 'epoch': 3},
    'averaged alone': lambda weights: {'state_dict_ema': weights},
}


@pytest.mark.parametrize('frame', FRAMES)
def test_every_way_to_load_takes_every_frame(tmp_path, frame):
    network = _timm()
    path = _saved(tmp_path, FRAMES[frame](network.state_dict()))
    _assert_same_logits(ClassificationModel(_config(), path).model, network)  # evaluation
    model = build(_config())
    load_checkpoint(model, path)  # init_model, inferencers
    _assert_same_logits(model, network)
    model, checkpoint = build(_config()), load_checkpoint_file(path)
    StrictLoadHook().after_load_checkpoint(SimpleNamespace(model=model), checkpoint)  # load_from, tools/test.py
    load_state_dict(model, checkpoint['state_dict'])
    _assert_same_logits(model, network)
    backbone = TimmViT('test_vit', img_size=SIZE, depth=2, init_cfg=dict(type='Pretrained', checkpoint=path))
    backbone.init_weights()
    assert torch.equal(backbone.blocks[1].attn.qkv.weight, network.blocks[1].attn.qkv.weight)


def test_half_precision_in_safetensors(tmp_path):
    network = _timm().half()
    save_file(network.state_dict(), tmp_path / 'a.safetensors')
    _assert_same_logits(ClassificationModel(_config(), str(tmp_path / 'a.safetensors')).model, network.float())


def test_averaged_weights_beside_others_are_said():
    weights = {'w': torch.ones(1)}
    with pytest.warns(UserWarning, match=r'x\.pth holds averaged weights too, under state_dict_ema: .* state_dict are'):
        assert weights_of({'state_dict': weights, 'state_dict_ema': {}}, 'x.pth') == weights


def test_the_teacher_of_a_self_supervised_run():
    network = _timm()
    teacher = {f'module.backbone.{key}': value for key, value in network.state_dict().items() if 'head' not in key}
    teacher['module.head.mlp.0.weight'] = torch.ones(2, 2)
    backbone = TimmViT('test_vit', img_size=SIZE, depth=2)
    backbone.load_pretrained(weights_of({'student': {}, 'teacher': teacher}), 'x.pth')
    assert torch.equal(backbone.cls_token, network.cls_token)
    with pytest.raises(ValueError, match='the backbone fits and the head does not'):
        model = build(_config())
        fitting(model, {'teacher': teacher}, 'x.pth')


@pytest.mark.parametrize('adapter', [None, dict(num_tokens=2, rank=1)])
def test_dinov2_of_its_authors_equals_timm(adapter):
    """Registers have no position there, and the class token has one; timm's network has it added to the token."""
    network = timm.create_model('vit_small_patch14_reg4_dinov2', img_size=28, depth=1, num_classes=0).eval()
    torch.nn.init.normal_(network.cls_token)
    released = dict(network.state_dict())
    position = torch.randn(1, 1, 384)
    released['cls_token'] = released['cls_token'] - position
    released['pos_embed'] = torch.cat((position, released['pos_embed']), 1)
    released['register_tokens'] = released.pop('reg_token')
    released['mask_token'] = torch.zeros(1, 384)
    options = dict(img_size=28, depth=1, out_type='cls_token', adapter=adapter)
    backbone = TimmViT('vit_small_patch14_reg4_dinov2', **options).eval()
    backbone.load_pretrained(released, 'x.pth')
    images = torch.randn(1, 3, 28, 28)
    torch.testing.assert_close(backbone(images)[0], network(images), rtol=0, atol=1e-4)


def test_deit3_of_its_authors():
    network = _timm('deit3_small_patch16_224')
    released = {
        key.replace('ls1.gamma', 'gamma_1').replace('ls2.gamma', 'gamma_2'): value
        for key, value in network.state_dict().items()
    }
    model = build(_config('deit3_small_patch16_224'))
    model.load_state_dict(fitting(model, released, 'x.pth'))
    _assert_same_logits(model, network)


def test_positions_of_another_grid_are_resampled_as_timm_does_and_said():
    network = _timm()
    backbone = TimmViT('test_vit', img_size=64, depth=2, out_type='cls_token').eval()
    with pytest.warns(UserWarning, match=r'position embedding of 2 x 2 patches is resampled to 4 x 4') as said:
        backbone.load_pretrained(network.state_dict(), 'x.pth')
    assert len(said) == 1
    network.set_input_size((64, 64))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.get_classifier()(backbone(images)[0]), network(images), rtol=0, atol=1e-4)


def test_patches_of_another_size_are_refused():
    released = dict(_timm().state_dict(), mask_token=torch.zeros(1))
    released['patch_embed.proj.weight'] = torch.ones(64, 3, 8, 8)
    with pytest.raises(ValueError, match=r'patch_embed.proj.weight \(64, 3, 8, 8\) instead of \(64, 3, 16, 16\)'):
        TimmViT('test_vit', img_size=SIZE, depth=2).load_pretrained(released, 'x.pth')


def test_a_head_of_other_classes_is_refused_with_the_way_out():
    model = build(_config())
    weights = dict(_timm().state_dict(), **{'head.weight': torch.ones(7, 64), 'head.bias': torch.ones(7)})
    with pytest.raises(ValueError, match=r'head does not, of 7 classes instead of 5\. Take .*init_cfg\.checkpoint='):
        fitting(model, weights, 'x.pth')


def test_a_backbone_alone_leaves_no_random_head(tmp_path):
    """MMEngine by itself would load the part that fits and go on."""
    weights = {key: value for key, value in _timm().state_dict().items() if 'head' not in key}
    path = _saved(tmp_path, weights)
    with pytest.raises(ValueError, match=r'they are of another model; timm ViT backbone weights need timm:NAME'):
        load_checkpoint(build(_config()), path)
    with pytest.raises(ValueError, match='the backbone fits and the head does not'):
        ClassificationModel(_config(), path)


def test_released_fan_as_a_classifier_and_in_a_segmentor():
    own = FAN(ARCH, out_type='cls_token').state_dict()
    released = as_released(own)
    backbone = dict(type='mmrobust.FAN', arch=ARCH, out_type='cls_token')
    head = dict(type='LinearClsHead', num_classes=3, in_channels=16)
    model = build(
        Config(dict(default_scope='mmpretrain', model=dict(type='ImageClassifier', backbone=backbone, head=head)))
    )
    weights = released | {'head.weight': torch.ones(3, 16), 'head.bias': torch.ones(3), 'aux_head.bias': torch.ones(3)}
    with pytest.warns(UserWarning, match='auxiliary head'):
        fitted = fitting(model, {'state_dict': weights}, 'x.pth')
    assert torch.equal(fitted['backbone.blocks.1.attn.q.weight'], own['blocks.1.attn.q.weight'])
    assert torch.equal(fitted['head.fc.bias'], torch.ones(3))

    names = [key.replace('conv_seg', 'linear_pred') for key in HEAD_KEYS]
    names = [f'{key[:9]}.proj{key[9:]}' if key.startswith('linear_c') else key for key in names]
    segmentor = {f'backbone.{key}': value for key, value in released.items() if not key.startswith('norm.')}
    segmentor |= {f'decode_head.{key}': torch.rand(1) for key in names}
    decode_head = dict(type='mmrobust.FANSegformerHead', in_channels=[16] * 4, in_index=[0, 1, 2, 3], channels=8)
    decode_head.update(num_classes=19, norm_cfg=dict(type='BN'), align_corners=False)
    backbone = dict(type='mmrobust.FAN', arch=ARCH)
    model = build(Config(dict(model=dict(type='EncoderDecoder', backbone=backbone, decode_head=decode_head))))
    adapted, converted = adapted_to(model, segmentor), convert_fan_segmentor(segmentor)
    assert adapted.keys() == converted.keys() == model.state_dict().keys()
    assert all(torch.equal(adapted[key], converted[key]) for key in adapted)


def test_attention_of_a_network_by_name(tmp_path):
    """The config that evaluates any network of timm serves the attention tools too."""
    network = _timm()
    options = {'model.img_size': SIZE, 'model.depth': 2, 'model.num_classes': CLASSES}
    config = cli.load_config('timm:test_vit', options)
    assert config.model.type == 'mmrobust.TimmClassifier' and config.model.data_preprocessor['mean'] == [127.5] * 3
    path = _saved(tmp_path, network.state_dict())
    evaluated = ClassificationModel(config, path)
    observed = ObservedModel(config, path)
    images = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(evaluated.model(images), network(images))
        features = observed.backbone(images)[0]
        wanted = network.forward_intermediates(images, norm=True, intermediates_only=True)[-1]
        torch.testing.assert_close(features, wanted, rtol=0, atol=1e-5)
        seen = observed.observe(images, lambda view: view.probs())
    assert len(seen) == 2 and seen[0].shape[-2:] == (5, 5)
    with pytest.raises(ValueError, match=r"model_name must be one of timm\.list_models\(\) .*, got 'vit_typo'"):
        cli.load_config('timm:vit_typo')


def test_the_shipped_config_takes_the_networks_preprocessing():
    config = cli.load_config(str(cli.own_file('configs/timm_vit_imagenet.py')))
    assert config.model.data_preprocessor['mean'] == config.model.data_preprocessor['std'] == [127.5] * 3
    resize = next(step for step in config.test_dataloader.dataset.pipeline if step['type'] == 'ResizeEdge')
    assert resize['scale'] == 248
    assert build(config).head.fc.in_features == 192


@pytest.fixture
def folder_of_images(tmp_path) -> str:
    """Two classes of two images."""
    for index in range(4):
        path = tmp_path / 'data' / 'ab'[index % 2] / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    return str(tmp_path / 'data')


def test_tools_take_a_network_by_name_and_a_file_of_timm(tmp_path, folder_of_images):
    """tools/test.py, evaluation and attention: one file, one name, the same predictions."""
    network = timm.create_model('test_vit', num_classes=2).eval()
    torch.nn.init.normal_(network.head.weight)
    path = _saved(tmp_path, {'model': network.state_dict(), 'epoch': 1})
    config = cli.load_config('timm:test_vit')
    mine = tmp_path / 'mine.py'
    dataset = dict(_delete_=True, type='mmrobust.ImageFolder', data_root=folder_of_images, expected_classes=2)
    dataset['pipeline'] = [dict(step) for step in config.test_dataloader.dataset.pipeline]
    loader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dataset)
    mine.write_text(
        f"_base_ = '{cli.own_file('configs/timm_imagenet.py')}'\n"
        "model = dict(model_name='test_vit', num_classes=2, data_preprocessor=dict(num_classes=2))\n"
        f'test_dataloader = {loader}\ntest_evaluator = dict(topk=1)\n'
    )
    load_tool('test.py').main(
        [str(mine), path, '--work-dir', str(tmp_path / 'run'), '--out', str(tmp_path / 'metrics.json')]
    )
    tested = json.loads((tmp_path / 'metrics.json').read_text())['accuracy/top1']
    report = mmrobust.evaluate(
        str(mine),
        'imagenet-c',
        checkpoint=path,
        device='cpu',
        num_workers=0,
        corruptions=['contrast'],
        severities=[1],
        quiet=True,
    )
    assert report.results['clean_error'] == pytest.approx(100 - tested)
    arguments = ['--model', 'ViT', str(mine), path, '--num-images', '2', '--device', 'cpu', '--corruption', 'none']
    load_tool('analysis_tools/attention_statistics.py').main(
        [*arguments, '--num-workers', '0', '--out', str(tmp_path / 'attention')]
    )
    assert (tmp_path / 'attention' / 'statistics.csv').is_file()
