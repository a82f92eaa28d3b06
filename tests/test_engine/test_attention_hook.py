"""What the attention hook logs, and that the training does not notice it."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import PixelData
from mmengine.visualization import Visualizer
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch import nn

from mmrobust.analysis import AttentionStatistics
from mmrobust.engine import AttentionLogHook
from mmrobust.ops import attention_diversification
from mmrobust.registry import MODELS


@pytest.fixture
def runner(tmp_path, tiny_hybrid):
    """What the hook needs of a runner, with a segmentation model whose attention is sharp."""
    model = MODELS.build(
        dict(
            type='mmrobust.RobustEncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64), pad_val=0, seg_pad_val=255),
            backbone=dict(type='mmrobust.FAN', arch=tiny_hybrid, drop_path_rate=0.3),
            decode_head=dict(
                type='SegformerHead', in_channels=[128, 256, 16, 16], in_index=[0, 1, 2, 3], channels=8, num_classes=19
            ),
            train_cfg=dict(),
            test_cfg=dict(mode='whole'),
        )
    )
    for block in model.backbone.blocks:
        nn.init.normal_(block.attn.q.weight)
        nn.init.normal_(block.attn.kv.weight)
    Visualizer._instance_dict.clear()
    visualizer = Visualizer('attention', vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path))
    return SimpleNamespace(model=model.train(), iter=3, visualizer=visualizer)


def batch(height: int = 48) -> dict:
    """Three images that are smaller than the crop, as a data loader has them."""
    label = PixelData(data=torch.zeros(1, height, 64, dtype=torch.long))
    return dict(
        inputs=[torch.randint(0, 256, (3, height, 64), dtype=torch.uint8) for _ in range(3)],
        data_samples=[SegDataSample(gt_sem_seg=label, metainfo=dict(img_shape=(height, 64))) for _ in range(3)],
    )


def scalars(folder) -> dict:
    (path,) = folder.rglob('scalars.json')
    return json.loads(path.read_text().splitlines()[-1])


def test_scalars_of_the_padded_images(runner, tmp_path):
    data = batch()
    AttentionLogHook(interval=2, num_images=2, top_k=3).after_train_iter(runner, 0, data)
    logged = scalars(tmp_path)
    model = runner.model.eval()
    inputs = model.data_preprocessor(dict(data), True)['inputs'][:2]
    assert inputs.shape[-2:] == (64, 64)
    observed = AttentionStatistics(top_k=3)
    with torch.no_grad():
        layers = model.backbone(
            inputs, lambda view: (observed(view), attention_diversification(view.attention), view.probs().mean(1))
        )[1]
    assert logged['step'] == 4
    for index, (layer, adl, maps) in enumerate(layers, start=1):
        kept = (maps >= 2 / maps.size(-1)).sum(-1)
        for name, rows in (('active', kept > 0), ('single', kept == 1)):
            assert logged[f'attention/adl_{name}/layer_{index}'] == pytest.approx(rows.float().mean().item())
        assert logged[f'attention/top_share/layer_{index}'] == pytest.approx(layer['top_share'].mean().item(), rel=1e-5)
        assert logged[f'attention/adl/layer_{index}'] == pytest.approx(adl.item(), rel=1e-5)
        assert adl > 0.1
    assert len(logged) == 1 + 2 * 8


def test_dilations_of_tap(runner, tmp_path, tiny_hybrid):
    tap_cfg = dict(type='mmrobust.TokenAwareAvgPool', num_branches=3)
    backbone = runner.model.backbone = MODELS.build(dict(type='mmrobust.FAN', arch=tiny_hybrid, tap_cfg=tap_cfg))
    logits = []
    for block in backbone.blocks:
        nn.init.normal_(block.tap.predictor[-1].weight)
        block.tap.predictor.register_forward_hook(lambda module, inputs, output: logits.append(output))
    AttentionLogHook(interval=2, num_images=2).after_train_iter(runner, 0, batch())
    logged = scalars(tmp_path)
    for index, of_layer in enumerate(logits, start=1):  # (images, branches, rows, columns)
        for dilation, mean in enumerate(of_layer.softmax(1).mean((0, 2, 3)).tolist()):
            assert logged[f'attention/dilation_{dilation}/layer_{index}'] == pytest.approx(mean, rel=1e-5)
    assert len(logits) == 2 and len(logged) == 1 + 2 * (8 + 3)


def test_a_network_of_timm(runner, tmp_path):
    pytest.importorskip('timm')
    data_preprocessor = dict(type='mmpretrain.ClsDataPreprocessor', num_classes=2)
    runner.model = MODELS.build(
        dict(
            type='mmpretrain.TimmClassifier',
            model_name='test_vit',
            num_classes=2,
            img_size=32,
            data_preprocessor=data_preprocessor,
        )
    ).train()
    data = dict(inputs=[torch.zeros(3, 32, 32, dtype=torch.uint8)] * 2, data_samples=[DataSample().set_gt_label(1)] * 2)
    AttentionLogHook(interval=2).after_train_iter(runner, 0, data)
    assert {key for key in scalars(tmp_path) if 'top_share' in key} == {
        f'attention/top_share/layer_{layer}' for layer in range(1, 7)
    }
    assert all(part.training for part in runner.model.modules())
    runner.model(torch.randn(2, 3, 32, 32))


def test_training_does_not_notice_it(runner):
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    data = batch()
    pixels = [image.clone() for image in data['inputs']]
    state = torch.get_rng_state()
    AttentionLogHook(interval=1, image_interval=4).after_train_iter(runner, 0, data)
    assert runner.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in runner.model.state_dict().items())
    assert all(torch.equal(*pair) for pair in zip(data['inputs'], pixels, strict=True))
    assert data['data_samples'][0].gt_sem_seg.data.shape == (1, 48, 64)
    assert all(parameter.grad is None for parameter in runner.model.parameters())


@pytest.mark.parametrize(('iteration', 'entries', 'images'), [(1, 0, 0), (2, 1, 0), (4, 1, 1)])
def test_intervals(runner, tmp_path, iteration, entries, images):
    runner.iter = iteration - 1
    AttentionLogHook(interval=2, image_interval=4).after_train_iter(runner, 0, batch())
    assert len(list(tmp_path.rglob('scalars.json'))) == entries
    found = list(tmp_path.rglob('attention_maps_*.png'))
    assert len(found) == images


def test_attention_must_be_observable(runner):
    runner.model.backbone = nn.Conv2d(3, 3, 1)
    with pytest.raises(TypeError, match='not in Conv2d'):
        AttentionLogHook().before_train(runner)


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(interval=0), 'interval of AttentionLogHook must be at least 1, got 0'),
        (dict(num_images=0), 'num_images of AttentionLogHook must be at least 1, got 0'),
        (dict(interval=100, image_interval=150), 'image_interval must be a multiple of interval, 100, got 150'),
    ],
)
def test_what_is_not_allowed(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        AttentionLogHook(**options)
