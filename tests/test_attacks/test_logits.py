"""Logits of any model of MMSegmentation as a function of pixels, and their gradient window by window."""

import contextlib
import importlib

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmrobust.attacks import segmentor_logits
from mmrobust.evaluation.models.segmentation import batch_windows

MODULE = importlib.import_module('mmrobust.attacks.logits')
ORIGINAL = (30, 44)  # of the labels; the pipeline has resized the images
SLIDE = dict(mode='slide', crop_size=(32, 32), stride=(20, 20))
WHOLE = dict(mode='whole')


def _segmentor(test_cfg=WHOLE, kind='EncoderDecoder', num_classes=4):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type=kind,
            data_preprocessor=dict(
                type='SegDataPreProcessor', mean=[120.0, 110.0, 100.0], std=[60.0] * 3, bgr_to_rgb=True
            ),
            backbone=dict(
                type='mmrobust.FAN',
                arch=dict(embed_dims=16, depth=2, num_heads=2, stem_depths=(1, 1), feature_blocks=(1,)),
                tap_cfg=dict(num_branches=2),
            ),
            decode_head=dict(
                type='mmrobust.FANSegformerHead', in_channels=[128, 256, 16, 16], channels=16, num_classes=num_classes,
                dropout_ratio=0.1, norm_cfg=dict(type='BN'), align_corners=False, in_index=[0, 1, 2, 3],
            ),
            train_cfg=dict(),
            test_cfg=ConfigDict(test_cfg),
        )
    )  # fmt: skip
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def _samples(number=2):
    return [SegDataSample(metainfo=dict(ori_shape=ORIGINAL, img_shape=(40, 60), img_path='a')) for _ in range(number)]


def _gradient(logits_of, images, weights):
    """Of a loss that is not linear in the logits, so that overlapping windows depend on each other."""
    leaf = images.clone().requires_grad_()
    loss = (weights * logits_of(leaf).log_softmax(1).exp()).sum()
    return torch.autograd.grad(loss, leaf)[0]


CASES = {
    'whole': dict(size=(48, 64)),
    'slide': dict(test_cfg=SLIDE),
    'slide with padding': dict(test_cfg=SLIDE, test_cfg_of_data=dict(size_divisor=32)),
    'whole with padding': dict(test_cfg_of_data=dict(size=(64, 64))),
    'ours, with padding cut': dict(
        test_cfg=SLIDE, kind='mmrobust.RobustEncoderDecoder', test_cfg_of_data=dict(size_divisor=32)
    ),
}


@pytest.fixture(params=CASES)
def segmentor(request):
    given = dict(CASES[request.param])
    of_data, size = given.pop('test_cfg_of_data', None), given.pop('size', (40, 60))
    model = _segmentor(**given)
    model.data_preprocessor.test_cfg = of_data
    return model, torch.rand(2, 3, *size)


def test_are_those_of_the_prediction_and_the_gradient_is_the_direct_one(segmentor, monkeypatch):
    segmentor, images = segmentor
    data = segmentor.data_preprocessor({'inputs': list(255 * images), 'data_samples': _samples()}, False)
    with torch.no_grad():
        predicted = segmentor(**data, mode='predict')
    logits_of = segmentor_logits(segmentor, _samples())
    logits = logits_of(images)
    assert logits.shape == (2, 4, *ORIGINAL)
    assert torch.equal(logits, torch.stack([of.seg_logits.data for of in predicted]))
    assert torch.equal(logits.argmax(1), torch.stack([of.pred_sem_seg.data[0] for of in predicted]))
    weights = torch.randn(logits.shape)
    ours = _gradient(logits_of, images, weights)
    assert 'encode_decode' not in vars(segmentor)
    monkeypatch.setattr(MODULE, '_windows_made_again', lambda of: contextlib.nullcontext())
    direct = _gradient(logits_of, images, weights)
    assert direct.abs().max() > 1e-3
    torch.testing.assert_close(ours, direct, rtol=1e-5, atol=1e-7)


def test_slide_gradient_equals_two_plain_passes():
    """Logits without a graph; their gradient; and that of the pixels of each window, added up."""
    segmentor = _segmentor(SLIDE)
    images = torch.rand(1, 3, 40, 60)
    logits_of = segmentor_logits(segmentor, [SegDataSample(metainfo=dict(ori_shape=(40, 60), img_shape=(40, 60)))])
    with torch.no_grad():
        logits = logits_of(images)
    weights = torch.randn(logits.shape)
    leaf = logits.clone().requires_grad_()
    (of_logits,) = torch.autograd.grad((weights * leaf.log_softmax(1).exp()).sum(), leaf)
    count, expected = torch.zeros(1, 1, 40, 60), torch.zeros_like(images)
    windows = [(slice(y, y + 32), slice(x, x + 32)) for y in (0, 8) for x in (0, 20, 28)]
    for rows, columns in windows:
        count[..., rows, columns] += 1
    mean, std = segmentor.data_preprocessor.mean, segmentor.data_preprocessor.std
    for rows, columns in windows:
        window = images[..., rows, columns].clone().requires_grad_()
        found = segmentor.encode_decode((255 * window[:, [2, 1, 0]] - mean) / std, [dict(img_shape=(32, 32))])
        (gradient,) = torch.autograd.grad(found, window, (of_logits / count)[..., rows, columns])
        expected[..., rows, columns] += gradient
    torch.testing.assert_close(_gradient(logits_of, images, weights), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('window_batch', [1, 4])
def test_keeps_the_activations_of_no_window(monkeypatch, window_batch):
    segmentor = _segmentor(SLIDE)
    if window_batch != 1:
        batch_windows(segmentor, window_batch)
    images = torch.rand(1, 3, 40, 60, requires_grad=True)

    def kept():
        numbers = []
        with torch.autograd.graph.saved_tensors_hooks(lambda of: numbers.append(of.numel()), lambda of: of):
            segmentor_logits(segmentor, _samples(1))(images)
        return sum(numbers)

    ours = kept()
    monkeypatch.setattr(MODULE, '_windows_made_again', lambda of: contextlib.nullcontext())
    assert ours < kept() / 20


def test_refuses_training_mode_and_other_models():
    segmentor = _segmentor()
    logits_of = segmentor_logits(segmentor, _samples(1))
    segmentor.decode_head.train()
    with pytest.raises(ValueError, match=r'The segmentor is in training mode \(decode_head\)'):
        logits_of(torch.rand(1, 3, 40, 60))
    with pytest.raises(TypeError, match='segmentor must be one of MMSegmentation, got Linear'):
        segmentor_logits(torch.nn.Linear(1, 1), [])


def test_refuses_a_single_output():
    segmentor = _segmentor()
    segmentor.decode_head = MODELS.build(
        dict(
            type='FCNHead', in_channels=16, in_index=3, channels=16, num_convs=0, concat_input=False, num_classes=2,
            out_channels=1, threshold=0.3, align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True),
        )
    ).eval()  # fmt: skip
    with pytest.raises(ValueError, match='EncoderDecoder must have 2 outputs or more to be attacked, got 1'):
        segmentor_logits(segmentor, _samples(1))(torch.rand(1, 3, 48, 64))
