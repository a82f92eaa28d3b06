import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

import mmrobust.engine.any_device  # noqa: F401 (registers BFloat16OptimWrapper)
from mmrobust.models import AttentionDiversificationLoss
from mmrobust.models.layers import PatchAugmentation
from tests.test_engine.tiny_run import Record, make_runner

TINY_VIT = dict(embed_dims=16, depth=2, num_heads=2, feature_blocks=(0, 1))
ADL = dict(type='mmrobust.AttentionDiversificationLoss', tau=1.0)


def _config(loss_attn=ADL, **kwargs):
    config = dict(
        type='mmrobust.RobustImageClassifier',
        data_preprocessor=dict(mean=[127.5] * 3, std=[60.0] * 3, to_rgb=True, num_classes=5),
        backbone=dict(type='mmrobust.FAN', arch=TINY_VIT, out_type='cls_token', tap_cfg=dict(num_branches=2)),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=16, cal_acc=True),
        loss_attn=loss_attn,
    )
    return ConfigDict(config | kwargs)


def _build(config):
    torch.manual_seed(0)
    model = MODELS.build(config)
    for block in getattr(model.backbone, 'blocks', ()):  # attention sharp enough for ADL to see
        nn.init.normal_(block.attn.q.weight, std=1.0)
        nn.init.normal_(block.attn.kv.weight, std=1.0)
    return model


def _batch(batch=4):
    torch.manual_seed(1)
    samples = [DataSample().set_gt_label(index % 5) for index in range(batch)]
    return dict(inputs=torch.randint(0, 256, (batch, 3, 32, 48)), data_samples=samples)


def _losses(model, **kwargs):
    return model(**model.data_preprocessor(_batch(**kwargs), training=True), mode='loss')


def test_both_losses_are_logged_and_make_the_total():
    model = _build(_config())
    losses = _losses(model)
    total, log = model.parse_losses(losses)
    assert set(losses) == {'loss_cls', 'loss_adl', 'accuracy_top-1'} and losses['loss_adl'] > 0
    torch.testing.assert_close(total, losses['loss_cls'] + losses['loss_adl'])
    assert log['loss'] == total and set(log) == {'loss', *losses}


def test_losses_are_those_of_the_formula():
    model = _build(_config()).eval()
    batch = model.data_preprocessor(_batch(), training=True)
    maps = model.backbone(batch['inputs'], lambda view: view)[1]
    adl = AttentionDiversificationLoss(tau=1.0)
    expected = sum(adl.layer_term(view) for view in maps) / len(maps)
    labels = torch.cat([sample.gt_label for sample in batch['data_samples']])
    scores = model.head.fc(model.backbone(batch['inputs'])[-1])
    losses = model(**batch, mode='loss')
    torch.testing.assert_close(losses['loss_adl'], expected)
    torch.testing.assert_close(losses['loss_cls'], nn.functional.cross_entropy(scores, labels))


@pytest.mark.parametrize('loss_attn', [None, ADL | dict(loss_weight=0.0)])
def test_without_adl_it_is_the_parent(loss_attn):
    from mmpretrain.models import ImageClassifier

    model = _build(_config(loss_attn)).eval()
    batch = model.data_preprocessor(_batch(), training=True)
    expected = ImageClassifier.loss(model, **batch)
    losses = model.loss(**batch)
    assert losses.pop('loss_adl', torch.zeros(())) == 0
    torch.testing.assert_close(losses['loss_cls'], expected['loss'])
    assert [sample.pred_label for sample in model.predict(**batch)] == [
        sample.pred_label for sample in ImageClassifier.predict(model, **batch)
    ]


def test_mixup_and_cutmix():
    """Mixed images have scores for labels, and ADL sees the mixed images."""
    augments = [dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    head = dict(type='LinearClsHead', num_classes=5, in_channels=16, loss=dict(type='CrossEntropyLoss', use_soft=True))
    model = _build(_config(head=head, train_cfg=dict(augments=augments)))
    torch.manual_seed(3)
    batch = model.data_preprocessor(_batch(), training=True)
    scores = torch.stack([sample.gt_score for sample in batch['data_samples']])
    assert ((scores > 0).sum(1) == 2).any()
    losses = model(**batch, mode='loss')
    assert losses['loss_adl'] > 0 and losses['loss_cls'].isfinite()
    model.parse_losses(losses)[0].backward()
    assert not [key for key, parameter in model.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize('loss_attn', [None, ADL])
def test_second_pass_on_augmented_patches(loss_attn):
    """As two steps on their own, of which only that on the images as they are sees ADL; their gradients add up."""
    patch_augment = dict(prob=0.5, mean=[127.5] * 3, std=[60.0] * 3)
    model, plain = _build(_config(loss_attn, patch_augment=patch_augment)), _build(_config(loss_attn))
    without_adl = _build(_config(None))
    batch = model.data_preprocessor(_batch(), training=True)

    torch.manual_seed(3)
    losses = model(**batch, mode='loss')
    model.parse_losses(losses)[0].backward()

    torch.manual_seed(3)
    augmented = without_adl(PatchAugmentation(**patch_augment)(batch['inputs']), batch['data_samples'], mode='loss')
    clean = plain(**batch, mode='loss')
    expected = clean | {f'augmented.{name}': value for name, value in augmented.items()}
    assert set(losses) == set(expected)
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name], msg=name)
    assert losses['loss_cls'] != losses['augmented.loss_cls']
    for part, of_part in ((plain, clean), (without_adl, augmented)):
        part.parse_losses(of_part)[0].backward()
    for (name, parameter), one, other in zip(
        model.named_parameters(), plain.parameters(), without_adl.parameters(), strict=True
    ):
        torch.testing.assert_close(parameter.grad, one.grad + other.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_patches_are_augmented_in_training_only():
    model, plain = _build(_config(patch_augment=dict(prob=1.0))).eval(), _build(_config()).eval()
    batch = model.data_preprocessor(_batch(), training=False)
    assert torch.equal(model(**batch), plain(**batch))
    scores = [sample.pred_score for sample in model.predict(**batch)]
    assert torch.equal(torch.stack(scores), torch.stack([sample.pred_score for sample in plain.predict(**batch)]))
    assert model.loss(**batch) == plain.loss(**batch)
    assert set(model.state_dict()) == set(plain.state_dict())


@pytest.mark.parametrize(
    ('patch_augment', 'message'),
    [(dict(prob=2), r'in \[0, 1\], got 2'), (dict(patch_size=32), 'multiples of patch_size=32, got 32 x 48')],
)
def test_patches_that_cannot_be_augmented(patch_augment, message):
    with pytest.raises(ValueError, match=message):
        _losses(_build(_config(patch_augment=patch_augment)))


def test_augmented_patches_need_no_attention():
    config = _config(None, backbone=dict(type='ResNet', depth=18), patch_augment=dict(prob=0.1))
    config.neck, config.head.in_channels = dict(type='GlobalAveragePooling'), 512
    losses = _losses(_build(config))
    assert {'loss_cls', 'augmented.loss_cls'} <= set(losses)


def test_adl_is_a_mean_over_images():
    """It does not depend on how a batch is split, over processes or over accumulated steps."""
    model = _build(_config()).eval()
    batch = model.data_preprocessor(_batch(4), training=False)
    adl = model.loss_attn
    whole = adl(model.backbone(batch['inputs'], adl.layer_term)[1])
    parts = [adl(model.backbone(part, adl.layer_term)[1]) for part in batch['inputs'].split(1)]
    torch.testing.assert_close(whole, torch.stack(parts).mean())


def test_other_backbones_cannot_feed_adl():
    resnet = dict(type='ResNet', depth=18)
    with pytest.raises(TypeError, match='ResNet has no `observe`'):
        MODELS.build(_config(backbone=resnet))
    MODELS.build(_config(loss_attn=None, backbone=resnet))


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.mark.parametrize('wrapper', [dict(type='OptimWrapper'), dict(type='BFloat16OptimWrapper')])
def test_trains_with_amp_accumulation_and_ema(tmp_path, wrapper):
    """Four iterations, two of them per step: the weights change, the averaged ones follow, and every loss is finite."""
    model = _build(_config())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    record = Record()
    runner = make_runner(tmp_path, record, dict(type='EMAHook', momentum=0.1), model=model, iters=4)
    runner.optim_wrapper = wrapper | dict(
        optimizer=dict(type='AdamW', lr=1e-3), accumulative_counts=2, clip_grad=dict(max_norm=1.0)
    )
    images = _batch(10)
    runner._train_dataloader['dataset'] = [
        dict(inputs=image, data_samples=sample)
        for image, sample in zip(images['inputs'], images['data_samples'], strict=True)
    ]
    runner._train_dataloader |= dict(
        sampler=dict(type='InfiniteSampler', shuffle=True), collate_fn=dict(type='pseudo_collate')
    )
    runner.train()
    assert len(record.losses) == 4 and all(torch.tensor(list(record.losses.values())).isfinite())
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert 'head.fc.weight' in changed and 'backbone.blocks.0.attn.q.weight' in changed
    (ema,) = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
    assert isinstance(ema, ExponentialMovingAverage)
    averaged = ema.module.state_dict()['head.fc.weight']
    assert not torch.equal(averaged, before['head.fc.weight'])
    assert not torch.equal(averaged, model.state_dict()['head.fc.weight'])
