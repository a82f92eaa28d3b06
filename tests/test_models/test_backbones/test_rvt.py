import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmrobust.models import RVT
from mmrobust.models.backbones.rvt import ARCHS
from mmrobust.ops import dilated_windows, weighted_avg_pool_reference

from .released_rvt import TINY_RVT

TAP = dict(num_branches=4)
PAPER = ARCHS['base'] | dict(scaled_blocks=12)
# parameters and GMACs at 224 x 224 with a 1000-way head, measured on the released networks; the GMACs of "plus" are
# those without it, because a product element by element is not counted
PUBLISHED = [
    ('tiny', None, 'conv', 8_646_376, 1.284),
    ('tiny', TAP, 'conv', 8_744_968, 1.300),
    ('tiny_plus', None, 'conv', 10_951_336, 1.284),
    ('tiny_plus', TAP, 'conv', 11_049_928, 1.300),
    ('small', None, 'conv', 22_148_392, 4.645),
    ('small', TAP, 'conv', 22_316_104, 4.678),
    ('small_plus', None, 'conv', 23_300_872, 4.645),
    ('small_plus', TAP, 'conv', 23_468_584, 4.678),
    ('base', None, 'linear', 86_223_784, 17.491),
    ('base', TAP, 'conv', 87_091_912, 17.621),
    ('base_plus', None, 'linear', 88_528_744, 17.491),
    ('base_plus', TAP, 'conv', 89_396_872, 17.621),
]


def _with_head(*args, **kwargs):
    with torch.device('meta'):
        backbone = RVT(*args, out_type='avg_featmap', **kwargs).eval()
        return backbone, nn.Linear(backbone.embed_dims, 1000)


def _count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_every_arch_is_published():
    assert {arch for arch, *_ in PUBLISHED} == set(ARCHS)


@pytest.mark.parametrize(('arch', 'tap_cfg', 'ffn_type', 'num_params', 'gmacs'), PUBLISHED)
def test_parameters_and_macs(arch, tap_cfg, ffn_type, num_params, gmacs):
    backbone, head = _with_head(arch, tap_cfg, ffn_type=ffn_type)
    assert _count(backbone, head) == num_params
    # the plain kernel, because not all fused ones are counted
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        head(backbone(torch.empty(1, 3, 224, 224, device='meta'))[0])
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, abs=1e-3)  # published with three decimals


@pytest.mark.parametrize(('tap_cfg', 'millions'), [(None, 91.8), (TAP, 92.1)])
def test_parameters_of_the_paper(tap_cfg, millions):
    """Not those of the released code: scaling in all 12 blocks and linear feed-forward layers give the paper's."""
    assert _count(*_with_head(PAPER, tap_cfg, ffn_type='linear')) / 1e6 == pytest.approx(millions, abs=0.05)


def _plain_rvt(p, images, depths, heads, num_branches):
    """RVT with a grid that its scaling was trained on, written down head by head; BN in evaluation mode."""

    def batch_norm(x, name):
        shape = (1, -1, 1, 1)
        mean, var, weight, bias = (p[f'{name}.{leaf}'].view(shape) for leaf in BN)
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def layer_norm(x, name):
        mean, var = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
        return (x - mean) / torch.sqrt(var + 1e-6) * p[f'{name}.weight'] + p[f'{name}.bias']

    def gelu(x):
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2

    def linear(x, name):
        return x @ p[f'{name}.weight'].T + p[f'{name}.bias']

    def conv(x, name, **options):
        return F.conv2d(x, p[f'{name}.weight'], p.get(f'{name}.bias'), **options)

    x = batch_norm(conv(images, 'patch_embed.0', stride=2, padding=2), 'patch_embed.1')
    x = conv(F.max_pool2d(x, 3, 2, 1), 'patch_embed.3', stride=4)
    maps = []
    for index in range(sum(depths)):
        stage = int(index >= depths[0])
        if index == depths[0]:
            x = conv(x, 'pools.0.conv', stride=2, padding=1, groups=x.size(1))
        name, channels, (height, width) = f'blocks.{index}', x.size(1), x.shape[2:]
        logits = conv(x, f'{name}.tap.predictor.0', padding=1)
        logits = conv(batch_norm(logits, f'{name}.tap.predictor.1'), f'{name}.tap.predictor.2', padding=1)
        weights = logits.softmax(1).permute(0, 2, 3, 1)
        pooled = weighted_avg_pool_reference(x.permute(0, 2, 3, 1), weights, dilated_windows(num_branches))
        normed = layer_norm(pooled.flatten(1, 2), f'{name}.norm1')
        query, (key, value) = linear(normed, f'{name}.attn.q'), linear(normed, f'{name}.attn.kv').chunk(2, -1)
        size, outs = channels // heads[stage], []
        for head in range(heads[stage]):
            part = slice(head * size, (head + 1) * size)
            scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(size)
            if f'{name}.position_scaling.logits' in p:
                scores = scores / (1 + torch.exp(-p[f'{name}.position_scaling.logits'][head]))
            scores = torch.exp(scores - scores.amax(-1, keepdim=True).detach())
            outs.append(scores / scores.sum(-1, keepdim=True) @ value[..., part])
        tokens = x.flatten(2).transpose(1, 2) + linear(torch.cat(outs, -1), f'{name}.attn.proj')
        hidden = layer_norm(tokens, f'{name}.norm2')
        if f'{name}.mlp.dwconv.weight' in p:
            hidden = hidden.transpose(1, 2).unflatten(2, (height, width))
            hidden = gelu(batch_norm(conv(hidden, f'{name}.mlp.fc1'), f'{name}.mlp.bn1'))
            hidden = conv(hidden, f'{name}.mlp.dwconv', padding=1, groups=hidden.size(1))
            hidden = conv(gelu(batch_norm(hidden, f'{name}.mlp.bn2')), f'{name}.mlp.fc2')
            hidden = batch_norm(hidden, f'{name}.mlp.bn3').flatten(2).transpose(1, 2)
        else:
            hidden = linear(gelu(linear(hidden, f'{name}.mlp.fc1')), f'{name}.mlp.fc2')
        x = (tokens + hidden).transpose(1, 2).unflatten(2, (height, width))
        maps.append(x)
    return maps, layer_norm(x.mean((2, 3)), 'norm') if 'norm.weight' in p else None


BN = ('running_mean', 'running_var', 'weight', 'bias')


@pytest.mark.parametrize('ffn_type', ['conv', 'linear'])
@pytest.mark.parametrize('out_type', ['featmap', 'avg_featmap'])
def test_equals_the_plain_formula_in_value_and_gradient(ffn_type, out_type):
    backbone = RVT(TINY_RVT, dict(num_branches=3), out_type, (0, 1, 2), ffn_type=ffn_type, img_size=(64, 96)).double()
    with torch.no_grad():  # everything, norms and their statistics too, away from its initial value
        for key, tensor in backbone.state_dict().items():
            if tensor.is_floating_point():
                tensor.mul_(1.5).add_(0.1 * torch.randn_like(tensor).abs())
                if 'attn.q' in key or 'attn.kv' in key or 'logits' in key:
                    tensor.normal_()
                if 'tap' in key:
                    tensor.mul_(0.2)  # or one branch has all the weight, and gradients are rounding
    backbone.eval()
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    outs = backbone(images)
    parameters = dict(backbone.named_parameters())
    maps, mean = _plain_rvt({**backbone.state_dict(), **parameters}, images, (2, 1), (2, 4), 3)
    expected = maps if out_type == 'featmap' else [mean]
    directions = [torch.randn_like(out) for out in outs]
    grads, wanted = (
        torch.autograd.grad(results, list(parameters.values()), grad_outputs=directions) for results in (outs, expected)
    )
    for out, want in zip(outs, expected, strict=True):
        torch.testing.assert_close(out, want, rtol=1e-9, atol=1e-9)
    for key, grad, want in zip(parameters, grads, wanted, strict=True):
        assert grad.abs().max() > 0, key
        torch.testing.assert_close(grad, want, rtol=1e-8, atol=1e-9 * want.abs().max().item(), msg=key)


@pytest.mark.parametrize(
    ('arch', 'channels', 'strides'),
    [('small_plus', (384,) * 4, (16, 16, 16, 16)), ('tiny', (192, 192, 192, 384), (16, 16, 16, 32))],
)
def test_feature_maps(arch, channels, strides):
    with torch.device('meta'):
        outs = RVT(arch)(torch.empty(1, 3, 64, 128))
    expected = [(1, width, 64 // stride, 128 // stride) for width, stride in zip(channels, strides, strict=True)]
    assert [tuple(out.shape) for out in outs] == expected


def test_odd_grid_is_halved_upwards():
    (out,) = RVT(TINY_RVT, out_indices=(2,))(torch.randn(1, 3, 48, 80))
    assert out.shape == (1, 32, 2, 3)


def test_averaged_features_are_the_mean_of_the_last_map():
    dense = RVT(TINY_RVT, out_indices=(2,)).eval()
    pooled = RVT(TINY_RVT, out_type='avg_featmap').eval()
    pooled.load_state_dict(dense.state_dict(), strict=False)
    images = torch.randn(2, 3, 32, 64)
    (mean,) = pooled(images)
    assert mean.shape == (2, 32)
    torch.testing.assert_close(mean, pooled.norm(dense(images)[0].mean((2, 3))))
    assert pooled.embed_dims == 32


def test_one_branch_equals_no_tap():
    plain, one_branch = (RVT(TINY_RVT, tap_cfg, out_indices=(2,)).eval() for tap_cfg in (None, dict(num_branches=1)))
    one_branch.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 32, 64)
    assert torch.equal(one_branch(images)[0], plain(images)[0])


@pytest.mark.parametrize('size', [(32, 32), (64, 96), (16, 16)])
def test_scaling_of_one_grid_serves_another(size):
    backbone = RVT(TINY_RVT, out_indices=(0,), img_size=32).eval()
    block = backbone.blocks[0]
    for parameter in (block.attn.q.weight, block.attn.kv.weight):
        nn.init.normal_(parameter)
    nn.init.normal_(block.position_scaling.logits, std=3.0)
    images = torch.randn(1, 3, *size)
    outs, views = backbone(images, lambda view: view)
    num_tokens = size[0] * size[1] // 256
    assert views[0].attention.gate.shape == (2, num_tokens, num_tokens)
    block.position_scaling = None
    assert torch.allclose(backbone(images)[0], outs[0], atol=1e-3) == (num_tokens == 1)


def test_which_blocks_are_scaled():
    with torch.device('meta'):
        blocks = RVT('base_plus').blocks
    assert [block.position_scaling is not None for block in blocks] == [True] * 5 + [False] * 7


def test_drop_path_grows_with_depth():
    rates = [block.drop_path.drop_prob for block in RVT(TINY_RVT, out_indices=(2,), drop_path_rate=0.3).blocks]
    assert rates == pytest.approx([0, 0.1, 0.2])


def test_attention_dropout_of_scaled_blocks_is_for_training_only():
    backbone = RVT(TINY_RVT, out_indices=(0,), attn_drop_rate=0.5)
    images = torch.randn(1, 3, 32, 64)
    assert not torch.equal(backbone(images)[0], backbone(images)[0])
    backbone.eval()
    assert torch.equal(backbone(images)[0], backbone(images)[0])


def test_pool_is_frozen_with_the_block_that_follows():
    for frozen_stages in (2, 3):
        backbone = RVT(TINY_RVT, out_indices=(2,), frozen_stages=frozen_stages)
        assert backbone.pools[0].conv.weight.requires_grad == (frozen_stages < 3)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'arch': 'huge'}, "'base_plus'.*got 'huge'"),
        ({'arch': ARCHS['tiny'] | dict(scaled_blocks=11)}, 'scaled_blocks must be 0 to 10.*got 11'),
        ({'arch': ARCHS['tiny'] | dict(embed_dims=(192, 276))}, 'multiple of the channels before it, got 192 and 276'),
        ({'tap_cfg': dict(num_branches=0)}, 'at least 1, got 0'),
        ({'out_type': 'cls_token'}, "'featmap', 'avg_featmap'.*got 'cls_token'"),
        ({'out_indices': (0, 12)}, r'within 0 to 11 for this arch, got \(0, 12\)'),
        ({'out_indices': (2, 1)}, r'ascending.*got \(2, 1\)'),
        ({'out_indices': ()}, r'got \(\)'),
        ({'ffn_type': 'mlp'}, "'conv', 'linear'.*got 'mlp'"),
        ({'img_size': 100}, 'multiple of 16, got 100'),
        ({'frozen_stages': 13}, r'-1 to 12 for this arch, got 13'),
    ],
)
def test_bad_arguments(options, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        RVT(**options)
