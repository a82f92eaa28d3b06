"""What every backbone promises, whatever its architecture."""

from functools import partial

import pytest
import torch
from torch.nn.functional import mse_loss

from mmrobust.acceleration import compile_in_training
from mmrobust.models import FAN, RVT, AttentionDiversificationLoss, DeiT, Swin, TimmViT
from mmrobust.models.backbones import fan, rvt, swin, timm_vit

from .released_rvt import TINY_RVT

TINY_VIT = dict(embed_dims=16, depth=3, num_heads=2, feature_blocks=(0, 1, 2))
TINY_HYBRID = dict(embed_dims=16, depth=2, num_heads=2, stem_depths=(1, 1), feature_blocks=(1,))
TINY_TWO_STAGES = dict(embed_dims=(16, 24), depth=(2, 1), num_heads=(2, 3), stem_depths=(1, 1), feature_blocks=(1,))
BACKBONES = {
    f'fan-{name}-{"tap" if tap_cfg else "plain"}': (
        lambda arch=arch, tap_cfg=tap_cfg, **kwargs: FAN(arch, tap_cfg, **kwargs)
    )
    for name, arch in (('vit', TINY_VIT), ('hybrid', TINY_HYBRID), ('two_stages', TINY_TWO_STAGES))
    for tap_cfg in (None, dict(num_branches=3))
}


def _without_class_token(backbone, arch, out_type='featmap', **kwargs):
    return backbone(arch, out_type='avg_featmap' if out_type == 'cls_token' else out_type, **kwargs)


def _tiny_rvt(**kwargs):
    return _without_class_token(RVT, TINY_RVT, out_indices=(0, 1, 2), **kwargs)


BACKBONES |= {
    'rvt-plain': lambda **kwargs: _tiny_rvt(img_size=(64, 96), ffn_type='linear', **kwargs),
    'rvt-tap': lambda **kwargs: _tiny_rvt(img_size=64, tap_cfg=dict(num_branches=3), **kwargs),
}


def _timm(backbone, *args, **kwargs):
    pytest.importorskip('timm')
    return backbone(*args, **kwargs)


def _tiny_timm(**kwargs):
    return _timm(TimmViT, 'vit_tiny_patch16_224', img_size=64, embed_dim=16, depth=3, num_heads=2, **kwargs)


BACKBONES |= {
    'timm-plain': _tiny_timm,
    'timm-tap': lambda **kwargs: _tiny_timm(tap_cfg=dict(num_branches=3), reg_tokens=2, qk_norm=True, **kwargs),
}


def _tiny_swin(**kwargs):
    arch = dict(embed_dims=8, depth=(2, 1, 1, 1), num_heads=(1, 2, 2, 4), window_size=5)  # 16 x 24 tokens: not 5 n
    return _without_class_token(Swin, arch, **kwargs)


BACKBONES |= {
    'swin-plain': _tiny_swin,
    'swin-tap': lambda **kwargs: _tiny_swin(tap_cfg=dict(num_branches=3), channel_attention=True, **kwargs),
}

# every network of ours that has a name, and some of timm's
TAP = dict(num_branches=4)
PUBLISHED = {f'FAN-{arch}': partial(FAN, arch, TAP) for arch in fan.ARCHS}
PUBLISHED |= {f'RVT-{arch}': partial(_without_class_token, RVT, arch, tap_cfg=TAP) for arch in rvt.ARCHS}
PUBLISHED |= {f'Swin-{arch}': partial(_without_class_token, Swin, arch, tap_cfg=TAP) for arch in swin.ARCHS}
PUBLISHED['FAN-Swin-small'] = partial(_without_class_token, Swin, 'small', tap_cfg=TAP, channel_attention=True)
PUBLISHED |= {f'DeiT-{arch}': partial(_timm, DeiT, arch, tap_cfg=TAP) for arch in timm_vit.DEIT_ARCHS}
PUBLISHED |= {
    name: partial(_timm, TimmViT, name, tap_cfg=TAP)
    for name in (
        'deit_tiny_distilled_patch16_224',
        'vit_tiny_patch16_224',
        'deit3_small_patch16_224',
        'vit_small_patch14_reg4_dinov2',
    )
}
SIZES = {'vit_small_patch14_reg4_dinov2': (56, 84)}
OUT_TYPES = ('featmap', 'cls_token')

every_backbone = pytest.mark.parametrize('name', BACKBONES)
every_network = pytest.mark.parametrize(
    'name', [*BACKBONES, *(pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED)]
)
every_out_type = pytest.mark.parametrize('out_type', OUT_TYPES)


def _build(name, **kwargs):
    torch.manual_seed(0)
    backbone = (BACKBONES | PUBLISHED)[name](**kwargs)
    for block in backbone.blocks:  # attention sharp enough for ADL to see, the same for all numbers of channels
        for projection in _projections(block.attn):
            torch.nn.init.normal_(projection.weight, std=4 * projection.in_features**-0.5)
    return backbone


def _projections(attn):
    """The layers that queries, keys and values come from."""
    return [getattr(attn, name) for name in ('q', 'kv', 'qkv') if hasattr(attn, name)]


def _images(height=64, width=96, batch=2):
    torch.manual_seed(1)
    return torch.randn(batch, 3, height, width)


def _images_for(name, **kwargs):
    return _images(*SIZES.get(name, (64, 96)), **kwargs)


def _step(backbone, images, observe=None):
    """Total loss and gradients of a step with a loss on the features, and ADL when observed."""
    adl = AttentionDiversificationLoss(tau=1.0)
    if observe:
        outs, terms = backbone(images, adl.layer_term)
        loss = adl(terms)
    else:
        outs, loss = backbone(images), 0
    torch.manual_seed(2)
    loss = loss + sum(mse_loss(out, torch.randn_like(out)) for out in outs)
    backbone.zero_grad()
    loss.backward()
    return loss.detach(), {key: p.grad.clone() for key, p in backbone.named_parameters() if p.grad is not None}


@every_backbone
@every_out_type
def test_observing_returns_reduced_attention_and_changes_nothing(name, out_type):
    backbone = _build(name, out_type=out_type).eval()
    images = _images()
    outs = backbone(images)
    observed, aux = backbone(images, lambda view: view.probs().sum(-1))
    assert isinstance(outs, tuple) and isinstance(aux, tuple) and len(aux) == len(backbone.blocks)
    for plain, seen in zip(outs, observed, strict=True):
        assert torch.equal(plain, seen)
    for row_sums in aux:
        torch.testing.assert_close(row_sums, torch.ones_like(row_sums))


@every_network
@every_out_type
@pytest.mark.parametrize('observe', [False, True])
def test_every_parameter_has_a_gradient(name, out_type, observe):
    backbone = _build(name, out_type=out_type)
    _, grads = _step(backbone, _images_for(name), observe)
    assert {key for key, _ in backbone.named_parameters()} == set(grads)
    assert all(grad.isfinite().all() for grad in grads.values())


@every_network
@every_out_type
def test_checkpointing_changes_nothing(name, out_type):
    (loss, grads), (loss_cp, grads_cp) = (
        _step(_build(name, out_type=out_type, with_cp=with_cp), _images_for(name), True) for with_cp in (False, True)
    )
    assert torch.equal(loss, loss_cp)
    for key, grad in grads.items():
        torch.testing.assert_close(grads_cp[key], grad, msg=key)


@every_backbone
@pytest.mark.parametrize('with_cp', [False, True])
def test_a_second_backward_pass_gives_the_same_gradients(name, with_cp):
    backbone = _build(name, with_cp=with_cp)
    adl = AttentionDiversificationLoss(tau=1.0)
    outs, terms = backbone(_images(), adl.layer_term)
    loss = adl(terms) + sum(out.square().mean() for out in outs)
    parameters = list(backbone.parameters())
    buffers = {key: value.clone() for key, value in backbone.named_buffers()}
    first, second, third = (torch.autograd.grad(loss, parameters, retain_graph=keep) for keep in (True, True, False))
    assert all(map(torch.equal, first, second)) and all(map(torch.equal, first, third))
    assert all(torch.equal(buffers[key], value) for key, value in backbone.named_buffers())


@every_backbone
@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
def test_jit_trace_with_gradient(name):
    """Under the checks of torch.jit.trace itself; the trace gives the gradients of the backbone too."""
    backbone = _build(name).eval()
    traced = torch.jit.trace(backbone, _images(batch=1))
    images = _images().requires_grad_()
    results = []
    for network in (traced, backbone):
        outs = network(images)
        results.append([*outs, *torch.autograd.grad(sum(out.square().mean() for out in outs), images)])
    torch.testing.assert_close(*results)


@every_network
def test_adl_gradient_at_batch_1(name):
    backbone = _build(name)
    adl = AttentionDiversificationLoss(tau=1.0)
    _, terms = backbone(_images_for(name, batch=1), adl.layer_term)
    loss = adl(terms)
    assert loss > 0
    loss.backward()
    assert all(_projections(block.attn)[0].weight.grad.abs().sum() > 0 for block in backbone.blocks)


@every_backbone
@every_out_type
def test_gradient_of_a_image_does_not_depend_on_its_batch(name, out_type):
    """In evaluation mode, as attacks and frozen norms need it. PyTorch's batch norm is wrong here for one image."""
    backbone = _build(name, out_type=out_type).double().eval()
    images = _images().double()

    def gradient(batch):
        batch = batch.clone().requires_grad_()
        outs = backbone(batch)
        torch.manual_seed(2)
        loss = sum((out * torch.randn(out.shape[1:], dtype=out.dtype)).sum() for out in outs)
        return torch.autograd.grad(loss, batch)[0]

    alone = torch.cat([gradient(image) for image in images.split(1)])
    torch.testing.assert_close(alone, gradient(images))


@every_backbone
def test_grid_is_not_assumed_square(name):
    """32 x 128 and 128 x 32 have 16 tokens, a square number: the transposed image gives other features."""
    backbone = _build(name).eval()
    wide = _images(32, 128, 1)
    out = backbone(wide)[-1]
    tall = backbone(wide.transpose(2, 3))[-1]
    assert out.shape[2:] == tall.shape[2:][::-1]
    assert not torch.allclose(out, tall.transpose(2, 3), atol=1e-3)


@every_network
def test_bfloat16_autocast_is_finite(name):
    backbone = _build(name)
    adl = AttentionDiversificationLoss(tau=1.0)
    with torch.autocast('cpu', torch.bfloat16):
        outs, terms = backbone(_images_for(name), adl.layer_term)
    assert all(out.isfinite().all() for out in outs)
    reference = adl(backbone(_images_for(name), adl.layer_term)[1])
    torch.testing.assert_close(adl(terms), reference, rtol=3e-2, atol=0)


@pytest.mark.parametrize(
    'name', [name if name == 'fan-hybrid-tap' else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES]
)
@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('whole', [True, False], ids=['whole', 'block by block'])
def test_compiles_without_graph_break(name, with_cp, whole):
    # float64: what rounding differs is amplified by sharp attention, block by block
    backbone = _build(name, with_cp=with_cp).double()
    adl = AttentionDiversificationLoss(tau=1.0)
    images = _images().double()
    eager = _step(backbone, images, True)
    torch._dynamo.reset()
    compile_in_training(backbone, whole, fullgraph=True, backend='aot_eager')
    outs, terms = backbone(images, adl.layer_term)
    torch.manual_seed(2)
    loss = adl(terms) + sum(mse_loss(out, torch.randn_like(out)) for out in outs)
    backbone.zero_grad()
    loss.backward()
    torch.testing.assert_close(loss.detach(), eager[0])
    for key, parameter in backbone.named_parameters():
        torch.testing.assert_close(parameter.grad, eager[1][key], rtol=1e-6, atol=1e-8, msg=key)


def test_blocks_that_are_alike_are_compiled_once():
    backbone = FAN(TINY_HYBRID | dict(depth=4), dict(num_branches=2))
    adl = AttentionDiversificationLoss(tau=1.0)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compile_in_training(backbone, backend='eager')
    for _ in range(2):
        backbone(_images(), adl.layer_term)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == 3  # the stem, a block, a class-attention block


@pytest.mark.slow
@pytest.mark.parametrize('name', PUBLISHED)
def test_published_network_compiles_without_graph_break(name):
    """Forward, and not lowered: the rest takes minutes for the deep ones, and their blocks are those tested above."""
    backbone = _build(name).double().eval()
    adl = AttentionDiversificationLoss(tau=1.0)
    images = _images_for(name).double()
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(backbone, fullgraph=True, backend='eager')(images, adl.layer_term)
        torch.testing.assert_close(compiled, backbone(images, adl.layer_term), rtol=1e-6, atol=1e-8)


@every_backbone
@pytest.mark.parametrize('frozen_stages', [0, 1])
def test_frozen_stages(name, frozen_stages):
    backbone = _build(name, frozen_stages=frozen_stages)
    # from the start: DDP is told which parameters have a gradient before the first call of train()
    assert not any(parameter.requires_grad for parameter in backbone.patch_embed.parameters())
    backbone.train()
    _, grads = _step(backbone, _images(), True)
    frozen = {key for key, _ in backbone.named_parameters()} - set(grads)
    prefixes = (
        'patch_embed.',
        'pos_embed',
        'cls_token',
        'reg_token',
        *(f'blocks.{index}.' for index in range(frozen_stages)),
    )
    assert frozen == {key for key, _ in backbone.named_parameters() if key.startswith(prefixes)}
    assert not backbone.patch_embed.training and backbone.blocks[-1].training


@every_backbone
def test_norm_eval(name):
    backbone = _build(name, norm_eval=True).train()
    before = {key: value.clone() for key, value in backbone.named_buffers()}
    backbone(_images())
    if not before:
        pytest.skip('has no batch norm')
    assert all(torch.equal(before[key], value) for key, value in backbone.named_buffers())


@pytest.mark.parametrize('name', [name for name in BACKBONES if not name.startswith('swin')])  # Swin pads
@pytest.mark.parametrize('size', [(40, 64), (64, 72)])
def test_size_that_is_no_multiple_of_16(name, size):
    with pytest.raises(ValueError, match=f'multiples of 16, got {size[0]} x {size[1]}'):
        _build(name)(_images(*size))


@every_backbone
def test_view_shows_the_weights_of_tap(name):
    """Of every layer, per patch token; without TAP there are none."""
    weights = _build(name)(_images_for(name), lambda view: view.tap_weights)[1]
    if 'tap' not in name:
        assert set(weights) == {None}
        return
    for of_layer in weights:
        assert of_layer.shape[::3] == (2, 3) and of_layer.shape[1] < of_layer.shape[2]
        assert not of_layer.requires_grad
        torch.testing.assert_close(of_layer.sum(-1), torch.ones(of_layer.shape[:-1]))
