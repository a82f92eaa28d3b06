"""What is logged about ADL beside its loss, and that the training does not notice it."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from mmrobust.engine import DiversificationLogHook
from mmrobust.engine.any_device import BFloat16OptimWrapper
from mmrobust.registry import MODELS

ADL = dict(type='mmrobust.AttentionDiversificationLoss', tau=1.5, loss_weight=3.0)


def make_runner(arch: dict, loss_attn: dict | None = ADL, sharp: bool = True, wrapper=OptimWrapper, **backbone):
    """What the hook needs of a runner at its fourth of eight iterations."""
    model = MODELS.build(
        dict(
            type='mmrobust.RobustEncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64), pad_val=0, seg_pad_val=255),
            backbone=dict(type='mmrobust.FAN', arch=arch, drop_path_rate=0.3, **backbone),
            decode_head=dict(
                type='SegformerHead', in_channels=[128, 256, 16, 16], in_index=[0, 1, 2, 3], channels=8, num_classes=19
            ),
            loss_attn=loss_attn,
            train_cfg=dict(),
            test_cfg=dict(mode='whole'),
        )
    )
    for block in model.backbone.blocks:
        nn.init.normal_(block.attn.q.weight, std=0.5 if sharp else 1e-4)
        nn.init.normal_(block.attn.kv.weight, std=0.5 if sharp else 1e-4)
    return SimpleNamespace(
        model=model.train(),
        iter=3,
        max_iters=8,
        message_hub=MessageHub(f'diversification {id(model)}'),
        logger=logging.getLogger('diversification'),
        optim_wrapper=wrapper(torch.optim.SGD(model.parameters(), 0.1)),
    )


def batch() -> dict:
    labels = torch.randint(0, 19, (3, 1, 64, 64))
    return dict(
        inputs=[torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in labels],
        data_samples=[
            SegDataSample(gt_sem_seg=PixelData(data=label), metainfo=dict(img_shape=(64, 64))) for label in labels
        ],
    )


def logged(runner) -> dict[str, float]:
    return {name: buffer.current() for name, buffer in runner.message_hub.log_scalars.items()}


@pytest.mark.parametrize(
    ('options', 'tolerance'),
    [({}, 1e-4), ({'with_cp': True}, 1e-4), ({'wrapper': BFloat16OptimWrapper}, 0.1)],
    ids=['plain', 'with_cp', 'amp'],
)
def test_numbers_are_those_of_the_plain_formulas(tiny_hybrid, options, tolerance):
    runner, data = make_runner(tiny_hybrid, **options), batch()
    DiversificationLogHook(interval=4, num_images=2).after_train_iter(runner, 0, data)
    found = logged(runner)

    model = runner.model.eval()
    pair = {name: items[:2] for name, items in data.items()}
    inputs = model.data_preprocessor(pair, True)
    _, maps = model.backbone(inputs['inputs'], lambda view: view.probs().mean(1))
    kept = torch.stack([(one >= 1.5 / one.size(-1)).sum(-1) for one in maps])
    assert found['train/adl_active'] == pytest.approx((kept > 0).double().mean().item(), rel=1e-2)
    assert found['train/adl_single'] == pytest.approx((kept == 1).double().mean().item(), abs=0.03)
    assert 0 < found['train/adl_single'] < found['train/adl_active'] <= 1
    norms = []
    for chosen in ('loss_adl', 'decode.loss_ce'):
        model.zero_grad()
        model(**inputs, mode='loss')[chosen].backward()
        grads = [one.grad.flatten() for one in model.parameters() if one.grad is not None]
        norms.append(torch.cat(grads).norm().item())
    assert found['train/adl_gradient'] == pytest.approx(norms[0] / norms[1], rel=tolerance)
    assert norms[0] > 0


def test_training_does_not_notice_it(tiny_hybrid):
    runner, data = make_runner(tiny_hybrid), batch()
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    state = torch.get_rng_state()
    DiversificationLogHook(interval=4).after_train_iter(runner, 0, data)
    assert logged(runner)
    assert runner.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in runner.model.state_dict().items())
    assert all(parameter.grad is None for parameter in runner.model.parameters())


def test_warns_once_where_nothing_is_ever_active(tiny_hybrid, caplog):
    runner, hook = make_runner(tiny_hybrid, sharp=False), DiversificationLogHook(interval=1)
    for runner.iter in range(4):
        hook.after_train_iter(runner, 0, batch())
    (record,) = caplog.records
    assert 'ADL was 0 in every look up to iteration 2 of 8:' in record.message
    assert logged(runner) == {'train/adl_active': 0, 'train/adl_single': 0, 'train/adl_gradient': 0}


def test_does_not_warn_where_something_was_active(tiny_hybrid, caplog):
    runner, hook = make_runner(tiny_hybrid), DiversificationLogHook(interval=100)
    runner.iter = 1  # a quarter is looked at whatever the interval
    hook.after_train_iter(runner, 0, batch())
    assert logged(runner) and not caplog.records


def test_nothing_without_adl_or_between_looks(tiny_hybrid):
    runner = make_runner(tiny_hybrid, loss_attn=None)
    DiversificationLogHook(interval=4).after_train_iter(runner, 0, batch())
    assert not logged(runner)
    runner = make_runner(tiny_hybrid)
    DiversificationLogHook(interval=5).after_train_iter(runner, 0, batch())
    assert not logged(runner)


@pytest.mark.parametrize('name', ['interval', 'num_images'])
def test_what_is_not_allowed(name):
    with pytest.raises(ValueError, match=f'{name} of DiversificationLogHook must be at least 1, got 0'):
        DiversificationLogHook(**{name: 0})
