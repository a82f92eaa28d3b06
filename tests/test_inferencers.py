"""The inferencers of MMSegmentation and MMPretrain, and the runner of their tools, with every shipped config."""

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_checkpoint
from mmpretrain import ImageClassificationInferencer, get_model
from mmpretrain.registry import MODELS as CLASSIFIERS
from mmseg.apis import MMSegInferencer, inference_model, init_model
from mmseg.registry import MODELS

from mmrobust.datasets.minicity import MiniCityParams, write_minicity
from mmrobust.preprocessing import settle_preprocessing
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


@pytest.fixture
def mmpretrain_scope():
    """In place of that of MMSegmentation; a script that has neither needs none."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


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
def test_pipeline_of_every_classification_config(path, image, mmpretrain_scope):
    config = Config.fromfile(path)
    if config.model.type == 'mmrobust.TimmClassifier':
        config.model.update(model_name='resnet10t', pretrained=False)
    elif config.model.backbone.type == 'mmrobust.TimmViT':
        config.model.backbone.model_name = 'test_vit'
    else:
        config.model = TINY_CLASSIFIER
    inferencer = ImageClassificationInferencer(config, pretrained=False, device='cpu')
    settle_preprocessing(config)
    wanted = expected(config, image)
    for batch in inferencer.preprocess([image, cv2.imread(image)], batch_size=2):
        for found in batch['inputs']:
            assert torch.equal(found, wanted)


def test_a_network_of_timm_by_the_path_of_its_config(image, tmp_path, mmpretrain_scope):
    """The same images and scores as timm's own transform and network give."""
    network = timm.create_model('test_resnet').eval()  # of 0.5 as mean and std, of another size than ResNet-50
    torch.save(network.state_dict(), tmp_path / 'a.pth')
    path = str(REPO / 'configs/timm_imagenet.py')
    inferencer = ImageClassificationInferencer(path, str(tmp_path / 'a.pth'), device='cpu', model_name='test_resnet')
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    wanted = transform(PIL.Image.open(image).convert('RGB'))[None]
    (batch,) = inferencer.preprocess([image])
    np.testing.assert_allclose(inferencer.model.data_preprocessor(batch)['inputs'], wanted, atol=1e-6)
    with torch.no_grad():
        scores = network(wanted).softmax(1)[0]
    np.testing.assert_allclose(inferencer(image)[0]['pred_scores'], scores, rtol=1e-4)
    with pytest.raises(
        ValueError, match=r"model_name must be one of timm.list_models\(\) where mean or std are 'timm', got 'no_such'"
    ):
        CLASSIFIERS.build(
            dict(type='mmrobust.TimmClassifier', model_name='no_such', data_preprocessor=dict(mean='timm', std='timm'))
        )


def test_classification_of_a_file(image, tmp_path, mmpretrain_scope):
    path = str(REPO / 'configs/fan_digits.py')
    model = CLASSIFIERS.build(Config.fromfile(path).model | dict(_scope_='mmpretrain'))
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=tuple('0123456789')))),
        tmp_path / 'a.pth',
    )
    inferencer = ImageClassificationInferencer(path, str(tmp_path / 'a.pth'), device='cpu')
    one, other = inferencer([image, cv2.imread(image)])
    assert one['pred_score'] == other['pred_score'] and one['pred_class'] in '0123456789'


@pytest.mark.parametrize('change', ['missing', 'unexpected'])
def test_a_part_of_the_weights_is_refused(run, tmp_path, change):
    """With TAP's predictors left out, or in a network without TAP, another network would predict."""
    config, checkpoint = run
    found = torch.load(checkpoint)
    keys = [key for key in found['state_dict'] if '.tap.' in key]
    assert keys
    if change == 'missing':
        for key in keys:
            del found['state_dict'][key]
    else:
        config = Config.fromfile(config)
        config.model.backbone.tap_cfg = None
    torch.save(found, path := str(tmp_path / 'part.pth'))
    for load in (
        lambda: init_model(config, path, device='cpu'),
        lambda: MMSegInferencer(config, path, device='cpu', show_progress=False),
    ):
        with pytest.raises(ValueError, match=rf'does not fit the model, keys .*{len(keys)} {change}'):
            load()
    model = MODELS.build((Config.fromfile(config) if isinstance(config, str) else config).model)
    load_checkpoint(model, path, strict=False)  # said, and so done
    key = next(key for key in model.state_dict() if key in found['state_dict'] and key.endswith('weight'))
    assert torch.equal(model.state_dict()[key], found['state_dict'][key])


def test_a_part_of_the_weights_of_a_classifier_is_refused(tmp_path, mmpretrain_scope):
    path = str(REPO / 'configs/fan_digits.py')
    weights = CLASSIFIERS.build(Config.fromfile(path).model | dict(_scope_='mmpretrain')).state_dict()
    del weights['head.fc.bias']
    torch.save(dict(state_dict=weights, meta={}), tmp_path / 'part.pth')
    for load in (get_model, ImageClassificationInferencer):
        with pytest.raises(ValueError, match=r'1 missing(.|\n)*head\.fc\.bias'):
            load(path, str(tmp_path / 'part.pth'), device='cpu')


@pytest.fixture(scope='module')
def minicity(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('data') / 'minicity'
    write_minicity(folder, MiniCityParams(num_train=2, num_val=1, num_acdc=0, size=(64, 32)))
    return folder


@of_task('seg')
def test_runner_of_every_segmentation_config(path, minicity, tmp_path):
    """What MMSegmentation's own tools do: data, schedule and hooks are the config's, the network is small."""
    config = Config.fromfile(path)
    preprocessor = dict(TINY_SEGMENTOR['data_preprocessor'], size=(32, 32), test_cfg=dict(size_divisor=16))
    config.model = dict(TINY_SEGMENTOR, train_cfg=dict(), data_preprocessor=preprocessor)
    config.load_from = None  # of the zoo's an address
    config.merge_from_dict({'train_cfg.max_iters': 1, 'train_cfg.val_interval': 1, 'work_dir': str(tmp_path)})
    for split in ('train', 'val', 'test'):
        loader = config[f'{split}_dataloader']
        loader.dataset.data_root = str(minicity)
        loader.update(num_workers=0, persistent_workers=False)
        for step in loader.dataset.pipeline:  # 1024 x 1024 pixels would take seconds
            for name, small in (('scale', (64, 32)), ('crop_size', (32, 32))):
                if name in step:
                    step[name] = small
    runner = Runner.from_cfg(config)
    runner.train()
    assert (tmp_path / 'iter_1.pth').is_file()
    assert set(runner.test()) >= {'mIoU', 'aAcc'}
