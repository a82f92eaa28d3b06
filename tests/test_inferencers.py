"""The inferencers of MMSegmentation and MMPretrain with every shipped config."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import MODELS as CLASSIFIERS
from mmseg.apis import MMSegInferencer, inference_model, init_model
from mmseg.registry import MODELS

from mmrobust.cli import load_config
from tests.tiny_segmentation import REPO, TINY_SEGMENTATION

CONFIGS = sorted([*REPO.glob('configs/*.py'), *REPO.glob('configs/zoo/*.py')])
TINY_SEGMENTOR = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[60.0] * 3, bgr_to_rgb=True),
    backbone=dict(
        type='ResNetV1c', depth=18, base_channels=4, num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,)
    ),
    decode_head=dict(
        type='FCNHead', in_channels=4, channels=4, num_convs=0, concat_input=False, num_classes=19, align_corners=False
    ),
    test_cfg=dict(mode='whole'),
)
TINY_CLASSIFIER = dict(
    type='ImageClassifier',
    backbone=dict(type='LeNet5', num_classes=10),
    head=dict(type='ClsHead'),
)


def of_task(task: str) -> pytest.MarkDecorator:
    # ablations differ from their baseline in the model only, as test_configs.py sees
    baselines = [path for path in CONFIGS if '_tap_' not in path.stem and '_adl_' not in path.stem]
    paths = [path for path in baselines if ('cityscapes' in path.stem or 'minicity' in path.stem) == (task == 'seg')]
    return pytest.mark.parametrize('path', paths, ids=lambda path: path.stem)


@pytest.fixture(scope='module')
def image(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp('image') / 'a.png'
    noise = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.GaussianBlur(noise, (5, 5), 2))
    return str(path)


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> tuple[str, str]:
    """Config and checkpoint of a segmentation model."""
    folder = tmp_path_factory.mktemp('run')
    (folder / 'tiny.py').write_text(TINY_SEGMENTATION)
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(folder / 'tiny.py').model | dict(_scope_='mmseg'))
    model.init_weights()
    meta = dict(dataset_meta=dict(classes=tuple('abcdefghijklmnopqrs'), palette=[[place] * 3 for place in range(19)]))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'tiny.pth')
    return str(folder / 'tiny.py'), str(folder / 'tiny.pth')


def expected(config: Config, image: str) -> torch.Tensor:
    """What the pipeline of the config makes of an image, without labels."""
    steps = config.test_dataloader.dataset.pipeline
    return Compose([step for step in steps if 'LoadAnnotations' not in step.type])({'img_path': image})['inputs']


def test_segmentation_of_a_file_and_of_an_array(run, image):
    model = init_model(*run, device='cpu')
    found = inference_model(model, image).pred_sem_seg.data.squeeze(0).numpy()
    of_array = inference_model(model, cv2.imread(image)).pred_sem_seg.data.squeeze(0).numpy()
    inferencer = MMSegInferencer(*run, device='cpu', show_progress=False)
    batch = inferencer([image, cv2.imread(image)], batch_size=2)['predictions']
    assert found.shape == (32, 64) and len(np.unique(found)) > 1
    for other in (of_array, inferencer(image)['predictions'], *batch):
        np.testing.assert_array_equal(found, other)


def test_half_an_image_is_refused(run, image, tmp_path):
    half = tmp_path / 'half.png'
    half.write_bytes(Path(image).read_bytes()[:1000])
    with pytest.raises(ValueError, match=r'half.png .* is broken'):
        MMSegInferencer(*run, device='cpu', show_progress=False)(str(half))
    with pytest.raises(ValueError, match=r'half.png .* is broken'):
        inference_model(init_model(*run, device='cpu'), str(half))


@of_task('seg')
def test_pipeline_of_every_segmentation_config(path, image):
    config = Config.fromfile(path)
    config.model = TINY_SEGMENTOR
    inferencer = MMSegInferencer(config, device='cpu', show_progress=False)
    wanted = expected(config, image)
    for given in (image, cv2.imread(image)):
        assert torch.equal(inferencer.pipeline(given)['inputs'], wanted)


@of_task('cls')
def test_pipeline_of_every_classification_config(path, image):
    options = {'model.model_name': 'resnet10t'} if path.stem == 'timm_imagenet' else None
    model = CLASSIFIERS.build(TINY_CLASSIFIER | dict(_scope_='mmpretrain'))
    model._config, model._dataset_meta = load_config(str(path), options), {}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        inferencer = ImageClassificationInferencer(model)
        wanted = expected(model._config, image)
    for batch in inferencer.preprocess([image, cv2.imread(image)], batch_size=2):
        for found in batch['inputs']:
            assert torch.equal(found, wanted)


def test_classification_of_a_file(image, tmp_path):
    path = str(REPO / 'configs/fan_digits.py')
    model = CLASSIFIERS.build(Config.fromfile(path).model | dict(_scope_='mmpretrain'))
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=tuple('0123456789')))),
        tmp_path / 'a.pth',
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        inferencer = ImageClassificationInferencer(path, str(tmp_path / 'a.pth'), device='cpu')
        one, other = inferencer([image, cv2.imread(image)])
    assert one['pred_score'] == other['pred_score'] and one['pred_class'] in '0123456789'
