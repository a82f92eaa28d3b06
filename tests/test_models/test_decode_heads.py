import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from torch.nn.functional import interpolate

from mmrobust.models import FANSegformerHead
from mmrobust.models.decode_heads import add_resized

HEAD_KEYS = {
    *(f'linear_c{level}.{leaf}' for level in (1, 2, 3, 4) for leaf in ('weight', 'bias')),
    'linear_fuse.conv.weight',
    *(f'linear_fuse.bn.{leaf}' for leaf in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')),
    'conv_seg.weight',
    'conv_seg.bias',
}


def _head(norm='BN', mode='bilinear'):
    torch.manual_seed(0)
    head = FANSegformerHead(
        in_channels=[3, 4, 5, 5],
        in_index=[0, 1, 2, 3],
        channels=6,
        num_classes=7,
        norm_cfg=norm and dict(type=norm),
        dropout_ratio=0,
        interpolate_mode=mode,
    )
    torch.nn.init.normal_(head.conv_seg.weight)
    return head.double()


def _formula(head, maps):
    """Project each level, resize it, concatenate from last to first, fuse."""
    levels = []
    for level, features in enumerate(maps, start=1):
        linear = getattr(head, f'linear_c{level}')
        projected = torch.einsum('bchw,dc->bdhw', features, linear.weight) + linear.bias[:, None, None]
        levels.append(interpolate(projected, size=(16, 24), mode=head.interpolate_mode))
    fused = head.linear_fuse(torch.cat([levels[3], levels[2], levels[1], levels[0]], dim=1))
    return head.conv_seg(fused)


@pytest.mark.parametrize('mode', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('norm', ['BN', None])
@pytest.mark.parametrize('training', [True, False])
def test_equals_the_formula_in_value_and_gradient(training, norm, mode):
    head = _head(norm, mode).train(training)
    # the last two levels have one size, as in a Hybrid, or all sizes differ
    for strides in ((1, 2, 4, 4), (1, 2, 4, 8)):
        sizes = zip((3, 4, 5, 5), strides, strict=True)
        maps = [torch.randn(2, c, 16 // s, 24 // s, dtype=torch.double, requires_grad=True) for c, s in sizes]
        inputs = [*maps, *head.parameters()]
        out, expected = head(maps), _formula(head, maps)
        torch.testing.assert_close(out, expected)
        loss = torch.randn_like(out)
        gradients = torch.autograd.grad((out * loss).sum(), inputs)
        torch.testing.assert_close(gradients, torch.autograd.grad((expected * loss).sum(), inputs))


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', [(16, 24), (7, 5), (3, 9), (1, 1)])
def test_resizing_by_products_is_bilinear_interpolation(size, align_corners):
    total = torch.randn(2, *size, 5, dtype=torch.double, requires_grad=True)
    part = torch.randn(2, 4, 3, 5, dtype=torch.double, requires_grad=True)
    resized = interpolate(part.permute(0, 3, 1, 2), size=size, mode='bilinear', align_corners=align_corners)
    expected = total + resized.permute(0, 2, 3, 1)
    got = add_resized(total, part, align_corners)
    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got)
    grads = [torch.autograd.grad((out * weights).sum(), (total, part)) for out in (got, expected)]
    torch.testing.assert_close(*grads)


def test_half_precision_is_as_close_as_the_formula():
    """One rounding of a product of weights in place of one of the projected features."""
    head = _head().float().eval()
    maps = [torch.randn(2, c, 16 // s, 24 // s) for c, s in ((3, 1), (4, 2), (5, 4), (5, 4))]
    exact = _formula(head, maps)
    with torch.autocast('cpu', torch.bfloat16):
        errors = [(run(maps).float() - exact).square().mean().sqrt() for run in (head, lambda x: _formula(head, x))]
    assert errors[0] < 1.5 * errors[1]


@pytest.mark.parametrize('terms', [1, 2])
@pytest.mark.parametrize('sampler', [None, dict(type='OHEMPixelSampler', thresh=0.7, min_kept=20)])
def test_losses_are_those_of_mmseg(sampler, terms):
    head = FANSegformerHead(
        in_channels=[3, 4, 5, 5],
        in_index=[0, 1, 2, 3],
        channels=6,
        num_classes=7,
        sampler=sampler,
        loss_decode=[dict(type='CrossEntropyLoss', loss_weight=weight) for weight in (1.0, 0.4)[:terms]],
    )
    torch.manual_seed(0)
    logits = torch.randn(2, 7, 4, 6, requires_grad=True)
    labels = torch.randint(0, 7, (2, 1, 16, 24))
    labels[:, :, :5] = head.ignore_index
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    ours, theirs = head.loss_by_feat(logits, samples), BaseDecodeHead.loss_by_feat(head, logits, samples)
    assert ours.keys() == theirs.keys() == {'loss_ce', 'acc_seg'}
    torch.testing.assert_close(ours['acc_seg'], theirs['acc_seg'].squeeze())
    assert 0 < ours['acc_seg'] < 100
    torch.testing.assert_close(ours['loss_ce'], theirs['loss_ce'], rtol=0, atol=0)


def test_accuracy_without_labels_is_zero():
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.full((1, 8, 8), 255)))
    assert _head().loss_by_feat(torch.randn(1, 7, 4, 4).double(), [sample])['acc_seg'] == 0


def test_keys_are_those_the_converter_writes():
    assert set(_head().state_dict()) == HEAD_KEYS
