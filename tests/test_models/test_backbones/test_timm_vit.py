import re
import subprocess
import sys
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmrobust.models import AttentionDiversificationLoss, TimmViT
from mmrobust.ops import Attention, attention_diversification_reference

timm = pytest.importorskip('timm')

SIZES = dict(embed_dim=32, depth=3, num_heads=4)
# every kind of VisionTransformer that is run here: name, and what makes it tiny
NAMES = {
    'deit_tiny_patch16_224': SIZES,
    'deit_small_distilled_patch16_224': SIZES,
    'deit3_base_patch16_224': SIZES,  # layer scale, no_embed_class
    'vit_small_patch14_reg4_dinov2': SIZES | dict(img_size=112),  # registers
    'vit_base_patch14_dinov2': SIZES | dict(img_size=112, act_layer='silu'),
    'vit_base_patch16_clip_224': SIZES,  # pre_norm
    'vit_medium_patch16_gap_256': SIZES,  # no class token, mean of the patches
    'vit_base_patch16_siglip_224': SIZES,  # pools with attention
    'vit_so400m_patch14_siglip_384': SIZES | dict(img_size=108),  # patches do not fill the image
    'vit_so150m_patch16_reg4_map_256': SIZES,  # pools with attention, over the patches alone
    'vit_little_patch16_reg4_gap_256': SIZES,  # norm after the pooling
    'vit_wee_patch16_reg1_gap_256': SIZES | dict(qk_norm=True, scale_attn_norm=True),
    'vit_tiny_patch16_224': SIZES | dict(global_pool='avgmax', dynamic_img_size=True),
    'vit_tiny_r_s16_p8_224': dict(depth=2),  # convolutional stem
    'aimv2_large_patch14_224': SIZES,  # RMSNorm, SwiGLU, no bias
    'eva_giant_patch14_224': SIZES | dict(img_size=56),  # Eva without rotary position embedding
    'eva02_tiny_patch14_224': SIZES
    | dict(img_size=56, mlp_ratio=2),  # rotary and absolute, SwiGLU, mean of the patches
    'eva02_base_patch16_clip_224': SIZES | dict(img_size=64),  # SwiGLU with a norm, norm of the attention's output
    'vit_small_patch16_dinov3': SIZES | dict(img_size=64),  # rotary alone, registers, layer scale, no bias of the key
    'vit_small_plus_patch16_dinov3': SIZES | dict(img_size=64, global_pool='map'),  # gated feed-forward layer
    'vit_small_patch16_rope_mixed_224': SIZES | dict(img_size=64),  # angles of each block and head, which are learnt
    'vit_betwixt_patch16_rope_reg4_gap_256': SIZES | dict(img_size=64),  # registers, and no class token
}
ROTARY = [name for name in NAMES if 'eva02' in name or 'dinov3' in name or 'rope' in name]
every_name = pytest.mark.parametrize('name', NAMES)


def _timm(name):
    """The timm model with a head, sharp attention, and no parameter at its initial 0 or 1."""
    model = timm.create_model(name, num_classes=3, **NAMES[name]).eval()
    for key, parameter in model.named_parameters():
        if parameter.dim() < 2 or any(name in key for name in ('qkv', 'q_proj', 'k_proj')):
            nn.init.normal_(parameter, std=0.3)
    return model


def _images(model, batch=1):
    return torch.randn(batch, 3, *model.patch_embed.img_size)


def _pair(name, **kwargs):
    """A timm model and a backbone with its weights."""
    model = _timm(name)
    backbone = TimmViT(name, **NAMES[name], **kwargs).eval()
    backbone.load_state_dict(backbone.adapt_state_dict(model.state_dict()), strict=not kwargs.get('tap_cfg'))
    return model, backbone


def _tiny(**kwargs):
    return TimmViT('vit_tiny_patch16_224', **dict(img_size=64, embed_dim=16, depth=2, num_heads=2) | kwargs)


def _sharp(backbone):
    for block in backbone.blocks:
        nn.init.normal_(block.attn.qkv.weight, std=1.0)
    return backbone


@every_name
def test_class_token_is_timms(name):
    model, backbone = _pair(name, out_type='cls_token')
    images = _images(model, 2)
    with torch.no_grad():
        (token,) = backbone(images)
        torch.testing.assert_close(
            token, model.forward_head(model.forward_features(images), pre_logits=True), rtol=0, atol=1e-5
        )


@every_name
@pytest.mark.parametrize('norm_maps', [False, True])
def test_feature_maps_are_timms(name, norm_maps):
    model, backbone = _pair(name, out_indices=(0, -1), norm_maps=norm_maps)
    images = _images(model)
    indices = [0, len(model.blocks) - 1]
    with torch.no_grad():
        expected = model.forward_intermediates(images, indices, norm=norm_maps, intermediates_only=True)
        outs = backbone(images)
    assert len(outs) == 2
    for out, want in zip(outs, expected, strict=True):
        torch.testing.assert_close(out, want, rtol=0, atol=1e-5)


@every_name
def test_parameters_have_timms_names(name):
    model = _timm(name)
    expected = {key: value.shape for key, value in model.state_dict().items() if not key.startswith('head')}
    for tap_cfg in (None, dict(num_branches=2)):
        backbone = TimmViT(name, tap_cfg=tap_cfg, out_type='cls_token', **NAMES[name])
        own = {key: value.shape for key, value in backbone.state_dict().items() if '.tap.' not in key}
        assert own == expected


@pytest.mark.parametrize('name', ROTARY)
def test_gradient_is_timms(name):
    model, backbone = (part.double() for part in _pair(name, out_type='cls_token'))
    images = _images(model, 2).double()
    model.forward_head(model.forward_features(images), pre_logits=True).square().sum().backward()
    backbone(images)[0].square().sum().backward()
    expected = {key: parameter.grad for key, parameter in model.named_parameters() if not key.startswith('head')}
    assert expected.keys() == dict(backbone.named_parameters()).keys()
    for key, parameter in backbone.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[key], msg=key)


def _rotated(x, angles, half):
    """Each pair of channels (a, b) of ``x`` turned by its angle: the pair is next to each other, or half apart."""
    first, second = (x[..., : x.size(-1) // 2], x[..., x.size(-1) // 2 :]) if half else (x[..., ::2], x[..., 1::2])
    turned = torch.complex(first, second) * torch.polar(torch.ones_like(angles), angles)
    pairs = (turned.real, turned.imag)
    return torch.cat(pairs, -1) if half else torch.stack(pairs, -1).flatten(-2)


@pytest.mark.parametrize('name', ['eva02_tiny_patch14_224', 'vit_small_patch16_dinov3'])
def test_adl_sees_a_plain_softmax_of_rotated_queries_and_keys(name):
    """The angles are those of the papers: EVA-02 counts 16 steps along a side, DINOv3 goes from -1 to 1 times 2 pi."""
    _, backbone = _pair(name, tap_cfg=dict(num_branches=1))
    patch, dims = (14, 8) if 'eva' in name else (16, 8)
    height, width = 2, 3
    if 'eva' in name:
        rows, columns = (torch.arange(length) / length * 16 for length in (height, width))
        frequencies = 10000.0 ** -(torch.arange(dims // 4) / (dims // 4))
    else:
        rows, columns = (4 * torch.pi * ((torch.arange(length) + 0.5) / length - 0.5) for length in (height, width))
        frequencies = 100.0 ** -(torch.arange(dims // 4) / (dims // 4))
    grid = torch.stack(torch.meshgrid(rows, columns, indexing='ij'), -1).flatten(0, 1)  # (6, 2)
    angles = (grid[..., None] * frequencies).flatten(1)  # (6, 4): of a row and of a column
    images, seen = torch.randn(2, 3, height * patch, width * patch), []
    backbone.blocks[1].norm1.register_forward_hook(lambda _, __, out: seen.append(out))
    adl = AttentionDiversificationLoss(tau=1.0).layer_term
    with torch.no_grad():
        found = backbone(images, lambda view: (view.probs(), adl(view)))[1][1]
        attn, (x,), prefix = backbone.blocks[1].attn, seen, backbone.num_prefix_tokens
        bias = 0 if attn.q_bias is None else torch.cat((attn.q_bias, torch.zeros(32), attn.v_bias))
        query, key, _ = (x @ attn.qkv.weight.T + bias).unflatten(-1, (3, 4, dims)).permute(2, 0, 3, 1, 4)
        query, key = (
            torch.cat((one[:, :, :prefix], _rotated(one[:, :, prefix:], angles, 'dinov3' in name)), 2)
            for one in (query, key)
        )
        probs = (query @ key.transpose(-2, -1) / dims**0.5).softmax(-1)
        torch.testing.assert_close(found[0], probs, rtol=1e-4, atol=1e-6)
        expected = attention_diversification_reference(probs, tau=1.0)
        torch.testing.assert_close(found[1], expected, rtol=1e-4, atol=1e-6)
        assert expected > 0.05


@pytest.mark.parametrize('name', ROTARY)
def test_tap_and_checkpointing_in_rotary_networks(name):
    """TAP of one branch changes nothing, more of them do; recomputing changes no gradient."""
    patch = 14 if 'patch14' in name else 16
    images = torch.randn(1, 3, 2 * patch, 3 * patch)
    model, one_branch = _pair(name, tap_cfg=dict(num_branches=1))
    with_tap, recomputed = (
        TimmViT(name, tap_cfg=dict(num_branches=3), with_cp=with_cp, **NAMES[name]) for with_cp in (False, True)
    )
    for backbone in (with_tap, recomputed):
        weights = backbone.adapt_state_dict(model.state_dict())
        tap = {key: value for key, value in with_tap.state_dict().items() if '.tap.' in key}
        backbone.load_state_dict(weights | tap)
    plain = TimmViT(name, **NAMES[name]).eval()
    plain.load_state_dict(plain.adapt_state_dict(model.state_dict()))
    term = AttentionDiversificationLoss(tau=1.0).layer_term
    with torch.no_grad():
        assert torch.equal(plain(images)[0], one_branch(images)[0])
    grads = []
    for backbone in (with_tap, recomputed):
        outs, terms = backbone(images, term)
        (outs[0].square().sum() + sum(terms)).backward()
        grads.append([parameter.grad for parameter in backbone.parameters()])
    assert not torch.allclose(outs[0], plain(images)[0])
    for grad, again in zip(*grads, strict=True):
        torch.testing.assert_close(grad, again)


@pytest.mark.parametrize('name', ['eva02_tiny_patch14_224', 'vit_small_patch16_dinov3'])
def test_rotary_networks_compile_in_one_graph(name):
    _, backbone = _pair(name, tap_cfg=dict(num_branches=2))
    images, term = torch.randn(1, 3, *backbone.img_size), AttentionDiversificationLoss(tau=1.0).layer_term
    compiled = torch.compile(backbone, backend='aot_eager', fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images, term), backbone(images, term))


def test_a_network_that_is_in_memory():
    """It shares its parameters, and stays as it was."""
    model = _timm('vit_small_patch16_dinov3')
    backbone = TimmViT(model, out_type='cls_token').eval()
    images = _images(model)
    with torch.no_grad():
        torch.testing.assert_close(
            backbone(images)[0], model.forward_head(model.forward_features(images), pre_logits=True)
        )
    assert {id(one) for one in backbone.parameters()} <= {id(one) for one in model.parameters()}
    assert model.patch_embed.img_size == (64, 64)


def test_real_deit_tiny():
    model = timm.create_model('deit_tiny_patch16_224').eval()
    backbone = TimmViT('deit_tiny_patch16_224', out_type='cls_token').eval()
    backbone.load_state_dict(backbone.adapt_state_dict(model.state_dict()))
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(model.head(backbone(images)[0]), model(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    'name', ['deit_tiny_patch16_224', 'vit_small_patch14_reg4_dinov2', 'deit3_base_patch16_224', *ROTARY]
)
def test_other_sizes_are_resampled_as_timm_does(name):
    model, backbone = _pair(name)
    dynamic = timm.create_model(name, num_classes=3, dynamic_img_size=True, **NAMES[name]).eval()
    dynamic.load_state_dict(model.state_dict())
    patch = model.patch_embed.patch_size[0]
    images = torch.randn(1, 3, 3 * patch, 5 * patch)
    with torch.no_grad():
        (out,) = backbone(images)
        (expected,) = dynamic.forward_intermediates(images, [2], norm=True, intermediates_only=True)
    assert out.shape == (1, 32, 3, 5)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)


def test_training_mode_drops_as_timm_does():
    rates = dict(drop_rate=0.3, pos_drop_rate=0.2, proj_drop_rate=0.2, attn_drop_rate=0.2, drop_path_rate=0.5)
    name = 'deit_tiny_patch16_224'
    model = timm.create_model(name, **SIZES, **rates).train()
    backbone = TimmViT(name, out_type='cls_token', **SIZES, **rates).train()
    backbone.load_state_dict(backbone.adapt_state_dict(model.state_dict()))
    images = torch.randn(4, 3, 224, 224)
    torch.manual_seed(3)
    (token,) = backbone(images)
    torch.manual_seed(3)
    expected = model.forward_head(model.forward_features(images), pre_logits=True)
    assert (expected == 0).any()  # something was dropped
    torch.testing.assert_close(token, expected, rtol=0, atol=1e-5)


def _plain_tap(x, tap, hw_shape):
    """TAP of patch tokens, neighbour by neighbour."""
    (height, width), num_branches = hw_shape, tap.num_branches
    grid = x.transpose(1, 2).unflatten(2, hw_shape)
    weights = tap.predictor(grid).softmax(1)
    out = weights[:, :1] * grid
    for dilation in range(1, num_branches):
        padded = F.pad(grid, [dilation] * 4)
        steps = (0, dilation, 2 * dilation)
        window = sum(padded[:, :, i : i + height, j : j + width] for i in steps for j in steps) / 9
        out = out + weights[:, dilation : dilation + 1] * window
    return out.flatten(2).transpose(1, 2)


def _plain_vit(backbone, images, hw_shape):
    """The last map and the attention of every block, as the formulas say; for one prefix token."""
    weights = dict(backbone.named_parameters())
    dims = backbone.embed_dims
    patches = F.conv2d(images, weights['patch_embed.proj.weight'], weights['patch_embed.proj.bias'], stride=16)
    x = torch.cat((weights['cls_token'].expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)), 1)
    x = x + weights['pos_embed']
    maps = []
    for index, block in enumerate(backbone.blocks):
        w = {key[len(f'blocks.{index}.') :]: value for key, value in weights.items() if f'blocks.{index}.' in key}
        pooled = torch.cat((x[:, :1], _plain_tap(x[:, 1:], block.tap, hw_shape)), 1)
        normed = F.layer_norm(pooled, (dims,), w['norm1.weight'], w['norm1.bias'], 1e-6)
        qkv = normed @ w['attn.qkv.weight'].T + w['attn.qkv.bias']
        heads, attended = [], []
        for h in range(2):
            query, key, value = (qkv[..., i * dims + h * 8 : i * dims + h * 8 + 8] for i in range(3))
            heads.append((query @ key.transpose(1, 2) / 8**0.5).softmax(-1))
            attended.append(heads[-1] @ value)
        maps.append(torch.stack(heads, 1))
        x = x + torch.cat(attended, -1) @ w['attn.proj.weight'].T + w['attn.proj.bias']
        hidden = F.layer_norm(x, (dims,), w['norm2.weight'], w['norm2.bias'], 1e-6)
        hidden = F.gelu(hidden @ w['mlp.fc1.weight'].T + w['mlp.fc1.bias'])
        x = x + hidden @ w['mlp.fc2.weight'].T + w['mlp.fc2.bias']
    x = F.layer_norm(x, (dims,), weights['norm.weight'], weights['norm.bias'], 1e-6)
    return x[:, 1:].transpose(1, 2).unflatten(2, hw_shape), maps


def test_value_and_gradient_of_the_plain_formula():
    backbone = _sharp(_tiny(img_size=(48, 80), tap_cfg=dict(num_branches=3))).double()
    images = torch.randn(2, 3, 48, 80, dtype=torch.float64)
    results = []
    for forward in (
        lambda: backbone(images, lambda view: view.probs()),
        lambda: _plain_vit(backbone, images, (3, 5)),
    ):
        out, maps = forward()
        out = out[0] if isinstance(out, tuple) else out
        backbone.zero_grad()
        ((out**2).sum() + sum((probs**3).sum() for probs in maps)).backward()
        results.append((out, maps, {key: p.grad.clone() for key, p in backbone.named_parameters()}))
    (out, maps, grads), (plain_out, plain_maps, plain_grads) = results
    torch.testing.assert_close(out, plain_out)
    for got, want in zip(maps, plain_maps, strict=True):
        torch.testing.assert_close(got, want)
    for key, grad in grads.items():
        torch.testing.assert_close(grad, plain_grads[key], msg=key)


@pytest.mark.parametrize(
    ('name', 'num_prefix_tokens'),
    [
        ('vit_medium_patch16_gap_256', 0),
        ('deit_tiny_patch16_224', 1),
        ('deit_small_distilled_patch16_224', 2),
        ('vit_small_patch14_reg4_dinov2', 5),
        ('vit_small_patch16_dinov3', 5),
        ('vit_betwixt_patch16_rope_reg4_gap_256', 4),
    ],
)
def test_tokens_that_tap_and_adl_see(name, num_prefix_tokens):
    """TAP gets the patches, on their grid; prefix tokens pass it unchanged. ADL gets all tokens, or the patches."""
    patch = 14 if 'patch14' in name else 16
    images = torch.randn(1, 3, 2 * patch, 3 * patch)
    seen = {}
    for observed_tokens in ('all', 'patches'):
        torch.manual_seed(0)
        backbone = TimmViT(name, tap_cfg=dict(num_branches=2), observed_tokens=observed_tokens, **NAMES[name]).eval()
        _, views = backbone(images, lambda view: view)
        shown = num_prefix_tokens if observed_tokens == 'all' else 0
        registers = min(shown, 0 if backbone.reg_token is None else 4)
        assert {(*view[1:3], view.num_registers) for view in views} == {((2, 3), shown, registers)}
        assert {view.tokens.shape[1] for view in views} == {6 + shown}
        seen[observed_tokens] = [view.probs() for view in views]
        assert {probs.shape[2:] for probs in seen[observed_tokens]} == {
            (6 + num_prefix_tokens * (observed_tokens == 'all'),) * 2
        }
    for probs, patches in zip(seen['all'], seen['patches'], strict=True):
        among_patches = probs[..., num_prefix_tokens:, num_prefix_tokens:]
        torch.testing.assert_close(patches, among_patches / among_patches.sum(-1, keepdim=True))
    block = backbone.blocks[0]
    x = torch.randn(1, num_prefix_tokens + 6, backbone.embed_dims)
    pooled, _ = block._pool(x, (2, 3))
    assert torch.equal(pooled[:, :num_prefix_tokens], x[:, :num_prefix_tokens])
    assert torch.equal(pooled[:, num_prefix_tokens:], block.tap(x[:, num_prefix_tokens:], (2, 3)))
    assert not torch.equal(pooled[:, num_prefix_tokens:], x[:, num_prefix_tokens:])


def test_registers_do_not_count_for_adl_among_patches():
    """Attention that all goes to a register is the worst case of ADL, and none at all among patches."""
    adl = AttentionDiversificationLoss()
    terms = {}
    for observed_tokens in ('all', 'patches'):
        backbone = _tiny(reg_tokens=1, observed_tokens=observed_tokens)
        for block in backbone.blocks:
            nn.init.zeros_(block.attn.qkv.weight)
            nn.init.zeros_(block.attn.qkv.bias)

        def to_register(view, is_all=observed_tokens == 'all'):
            query, key = torch.ones_like(view.attention.query), view.attention.key.clone()
            if is_all:
                key[:, :, 1] = 100.0
            return adl.layer_term(view._replace(attention=Attention(query, key)))

        terms[observed_tokens] = adl(backbone(torch.randn(1, 3, 64, 64), to_register)[1]).item()
    assert terms['all'] == pytest.approx(1) and terms['patches'] == 0


def test_one_branch_equals_no_tap():
    plain, one_branch = _tiny().eval(), _tiny(tap_cfg=dict(num_branches=1)).eval()
    one_branch.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 32, 64)
    assert torch.equal(one_branch(images)[0], plain(images)[0])


def test_rivals_of_tap():
    backbone = _tiny(tap_cfg=dict(type='mmrobust.TokenAvgPool', kernel_size=3))
    assert type(backbone.blocks[0].tap).__name__ == 'TokenAvgPool'
    assert backbone(torch.randn(1, 3, 32, 64))[0].shape == (1, 16, 2, 4)


def _saved(tmp_path, state_dict):
    path = tmp_path / 'weights.pth'
    torch.save(state_dict, path)
    return dict(type='Pretrained', checkpoint=str(path))


@pytest.mark.parametrize('name', ['deit_small_distilled_patch16_224', 'vit_base_patch16_siglip_224'])
@pytest.mark.parametrize('out_type', ['featmap', 'cls_token'])
@pytest.mark.parametrize('frame', ['timm', 'model', 'task'])
def test_checkpoints_load(tmp_path, name, out_type, frame):
    """As timm keeps them, as DeiT's training code does, and of a task model; all with a head."""
    source = _timm(name)
    state_dict = source.state_dict()
    if frame == 'model':
        state_dict = {'model': state_dict}
    elif frame == 'task':
        state_dict = {'state_dict': {f'backbone.{key}': value for key, value in state_dict.items()}}
    out_indices = (0, 1)  # for maps the last block is not needed
    target = TimmViT(
        name, out_type=out_type, out_indices=out_indices, init_cfg=_saved(tmp_path, state_dict), **NAMES[name]
    )
    target.init_weights()
    assert len(target.blocks) == (2 if out_type == 'featmap' else 3)
    for key, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


def test_own_checkpoint_with_tap(tmp_path):
    source = _tiny(tap_cfg=dict(num_branches=2), out_type='cls_token')
    target = _tiny(tap_cfg=dict(num_branches=2), init_cfg=_saved(tmp_path, source.state_dict()))
    target.init_weights()
    assert any('.tap.' in key for key in target.state_dict())
    for key, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


def test_checkpoint_without_tap_is_refused_as_for_fan(tmp_path):
    target = _tiny(tap_cfg=dict(num_branches=2), init_cfg=_saved(tmp_path, _tiny().state_dict()))
    with pytest.raises(ValueError, match=r'14 missing.*\n.*blocks.0.tap.predictor.0.weight'):
        target.init_weights()


def test_deeper_checkpoint_is_refused(tmp_path):
    target = _tiny(out_indices=(0,), init_cfg=_saved(tmp_path, _tiny(depth=4).state_dict()))
    with pytest.raises(ValueError, match='24 unexpected'):  # blocks 2 and 3; block 1 is only not needed
        target.init_weights()


def test_position_embedding_of_another_size_is_resampled(tmp_path):
    source = _tiny(img_size=64)
    target = _tiny(img_size=(32, 96), init_cfg=_saved(tmp_path, source.state_dict()))
    target.init_weights()
    assert target.pos_embed.shape == (1, 1 + 12, 16)
    images = torch.randn(1, 3, 32, 96)
    torch.testing.assert_close(target.eval()(images), source.eval()(images))


@pytest.mark.parametrize('name', ['deit_tiny_patch16_224', 'vit_base_patch16_siglip_224'])
def test_pretrained_weights_of_timm_stay(tmp_path, name, recwarn):
    """timm reads a local file here; TAP starts on its own."""
    source = timm.create_model(name, **SIZES)
    torch.save(source.state_dict(), tmp_path / 'timm.pth')
    backbone = TimmViT(
        name,
        pretrained=True,
        tap_cfg=dict(num_branches=2),
        out_type='cls_token',
        pretrained_cfg_overlay=dict(file=str(tmp_path / 'timm.pth')),
        **SIZES,
    )
    backbone.init_weights()
    assert not any('random weights' in str(warning.message) for warning in recwarn)
    own = {key: value for key, value in backbone.state_dict().items() if '.tap.' not in key}
    assert own and all(torch.equal(value, source.state_dict()[key]) for key, value in own.items())


def test_random_weights_are_said():
    with pytest.warns(UserWarning, match='starts from random weights'):
        _tiny().init_weights()


def test_distilled_tokens_fit_mmpretrains_head():
    from mmpretrain.models.heads import DeiTClsHead

    model, backbone = _pair('deit_small_distilled_patch16_224', out_type='cls_dist_tokens')
    head = DeiTClsHead(num_classes=3, in_channels=32).eval()
    head.layers.head.load_state_dict(model.head.state_dict())
    head.layers.head_dist.load_state_dict(model.head_dist.state_dict())
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(head(backbone(images)), model(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize('with_adl', [False, True])
def test_segmentor_on_a_image_that_is_not_square(with_adl):
    backbone = dict(
        type='mmrobust.TimmViT', model_name='vit_tiny_patch16_224', img_size=64, tap_cfg=dict(num_branches=2)
    )
    config = dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', size=(32, 96), test_cfg=dict(size_divisor=16)),
        backbone=backbone | dict(embed_dim=16, depth=2, num_heads=2, out_indices=(0, 1)),
        decode_head=dict(
            type='FCNHead',
            in_channels=16,
            channels=8,
            num_convs=1,
            num_classes=5,
            loss_decode=dict(type='CrossEntropyLoss'),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )
    if with_adl:
        config |= dict(
            type='mmrobust.RobustEncoderDecoder',
            loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', tau=1.0),
        )
    model = MODELS.build(ConfigDict(config))
    _sharp(model.backbone)
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 5, (1, 32, 96))))
    sample.set_metainfo(dict(img_shape=(32, 96), ori_shape=(32, 96)))
    inputs = torch.randint(0, 256, (3, 32, 96))
    batch = model.data_preprocessor(dict(inputs=[inputs] * 2, data_samples=[sample] * 2), training=True)
    losses = model(**batch, mode='loss')
    assert ('loss_adl' in losses) == with_adl
    total, _ = model.parse_losses(losses)
    total.backward()
    unused = {key for key, parameter in model.named_parameters() if parameter.grad is None}
    assert unused == set()
    model.eval()
    batch = model.data_preprocessor(dict(inputs=[inputs], data_samples=[sample]))
    (result,) = model(**batch, mode='predict')
    assert result.pred_sem_seg.shape == (32, 96)


def test_blocks_behind_the_last_map_are_not_built():
    backbone = _tiny(depth=4, out_indices=(0, -2))
    assert backbone.out_indices == (0, 2) and len(backbone.blocks) == 3
    assert [out.shape for out in backbone(torch.randn(1, 3, 32, 48))] == [(1, 16, 2, 3)] * 2


def test_frozen_stages():
    backbone = _tiny(tap_cfg=dict(num_branches=2), reg_tokens=2, pre_norm=True, frozen_stages=1)
    backbone.train()
    frozen = {key for key, parameter in backbone.named_parameters() if not parameter.requires_grad}
    prefixes = ('cls_token', 'reg_token', 'pos_embed', 'patch_embed.', 'norm_pre.', 'blocks.0.')
    assert frozen == {key for key, _ in backbone.named_parameters() if key.startswith(prefixes)}
    assert not backbone.blocks[0].tap.training and backbone.blocks[1].tap.training


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('resnet18', "VisionTransformer or Eva of timm, got 'resnet18', of class ResNet"),
        ('swin_tiny_patch4_window7_224', 'of class SwinTransformer'),
        ('naflexvit_base_patch16_gap', 'of class NaFlexVit'),
        ('beit_base_patch16_224', 'of class Beit'),
        ('vit_small_patch16_18x2_224', 'blocks of vit_small_patch16_18x2_224 are ParallelThingsBlock'),
        ('vit_base_patch16_rpn_224', 'ResPostBlock with Attention'),
        ('vit_dlittle_patch16_reg1_gap_256', 'Block with DiffAttention'),
        ('vit_pwee_patch16_reg1_gap_256', 'ParallelScalingBlock'),
        ('deit_tiny_patch16_22', "got 'deit_tiny_patch16_22'; close to it are deit_tiny_patch16_224"),
        ('qqqqqqqqqq', "got 'qqqqqqqqqq'$"),
    ],
)
def test_models_that_are_refused(name, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        TimmViT(name)


@pytest.mark.parametrize('name', ['resnet18', 'convnext_tiny'])
def test_other_networks_with_img_size_are_refused(name):
    message = f"must name a VisionTransformer or Eva of timm, .* does not build {name} with {{'img_size': 64}}: "
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        TimmViT(name, img_size=64)


def test_eva_with_its_norm_behind_is_refused():
    with pytest.raises(ValueError, match='blocks of eva02_tiny_patch14_224 are EvaBlockPostNorm with EvaAttention'):
        TimmViT('eva02_tiny_patch14_224', use_post_norm=True, **SIZES)


@pytest.mark.parametrize('name', ['vit_tiny_patch16_224', 'eva02_tiny_patch14_224', 'vit_small_patch16_rope_224'])
def test_gated_attention_is_refused(monkeypatch, name):
    kind = type(timm.create_model(name, **SIZES).blocks[0].attn)
    init = kind.__init__
    monkeypatch.setattr(kind, '__init__', lambda self, *args, **kwargs: init(self, *args, **kwargs | dict(gated=True)))
    with pytest.raises(ValueError, match=rf"does not run \['gate'\] of timm's {kind.__name__}, which {name} has"):
        TimmViT(name, **SIZES)


def test_unknown_parameters_of_a_block_are_refused():
    network = timm.create_model('vit_tiny_patch16_224', **SIZES)
    network.blocks[0].extra = nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match=r"does not run \['extra'\] of timm's Block, which VisionTransformer has"):
        TimmViT(network)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'tap_cfg': dict(num_branches=0)}, 'at least 1, got 0'),
        ({'out_type': 'raw'}, "'featmap', 'cls_token', 'cls_dist_tokens'.*got 'raw'"),
        ({'out_type': 'cls_dist_tokens'}, 'needs a distillation token, but vit_tiny_patch16_224 has none'),
        ({'out_type': 'cls_token', 'global_pool': ''}, "needs a global_pool other than ''"),
        ({'class_token': False, 'global_pool': 'token'}, "does not build vit_tiny.*'token'.*needs the class token"),
        ({'observed_tokens': 'cls'}, "'all', 'patches'.*got 'cls'"),
        ({'out_indices': (0, 2)}, r'within 0 to 1, got \(0, 2\)'),
        ({'out_indices': (0, -2)}, r'ascending.*got \(0, -2\)'),
        ({'out_indices': ()}, r'got \(\)'),
        ({'frozen_stages': 3}, '-1 to 2 for vit_tiny_patch16_224, got 3'),
        ({'num_classes': 10}, 'num_classes must be 0 in a backbone, got 10'),
        ({'patch_drop_rate': 0.5}, 'patch_drop_rate must be 0 in a backbone, got 0.5'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        _tiny(**options)


@pytest.mark.parametrize(
    ('out_type', 'kind', 'option', 'sample'),
    [
        ('featmap', 'mmseg.SegDataPreProcessor', 'test_cfg=dict(size_divisor=14)', SegDataSample),
        ('cls_token', 'mmpretrain.ClsDataPreprocessor', 'pad_size_divisor=14', DataSample),
    ],
)
def test_the_option_that_pads_images_is_that_of_the_kind_of_model(out_type, kind, option, sample):
    backbone = _tiny(img_size=56, patch_size=14, out_type=out_type)
    with pytest.raises(
        ValueError, match=rf'multiples of 14, got 28 x 30 \(data_preprocessor\.{re.escape(option)} pads'
    ):
        backbone(torch.randn(1, 3, 28, 30))
    data = dict(inputs=[torch.zeros(3, 28, 30)], data_samples=[sample()])
    backbone(MODELS.build(dict(type=kind, **eval(f'dict({option})')))(data)['inputs'].float())


def test_size_of_the_image():
    with pytest.raises(ValueError, match=r'multiples of 14, got 28 x 30 .*size_divisor=14'):
        _tiny(img_size=56, patch_size=14)(torch.randn(1, 3, 28, 30))
    assert _tiny(dynamic_img_pad=True)(torch.randn(1, 3, 28, 40))[0].shape == (1, 16, 2, 3)


@pytest.mark.parametrize(('height', 'width'), [(32, 48), (64, 64), (128, 16)])
@pytest.mark.parametrize('dynamic_img_size', [False, True])
def test_tap_sees_the_grid_of_any_image(height, width, dynamic_img_size):
    """Whatever size of image the model was built for, and whether or not timm itself would take another."""
    backbone = _tiny(tap_cfg=dict(num_branches=2), dynamic_img_size=dynamic_img_size).eval()
    seen = []
    backbone.blocks[0].tap.register_forward_hook(lambda _, args, __: seen.append((args[0].shape[1], args[1])))
    assert backbone(torch.randn(1, 3, height, width))[0].shape[2:] == (height // 16, width // 16)
    assert seen == [(height * width // 256, (height // 16, width // 16))]


class _Overlapping(timm.layers.PatchEmbed):
    """Patches of 16 pixels every 8 pixels, which timm counts as if they did not overlap."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.proj.stride = (8, 8)


@pytest.mark.parametrize(
    ('embed_layer', 'got'),
    [
        (_Overlapping, r'_Overlapping made tokens of shape \(77, 16\)'),
        (partial(timm.layers.PatchEmbed, output_fmt='NCHW'), r'PatchEmbed made tokens of shape \(64, 6\)'),
    ],
)
@pytest.mark.parametrize('tap_cfg', [None, dict(num_branches=2)])
def test_tokens_that_are_no_grid(embed_layer, got, tap_cfg):
    backbone = _tiny(embed_layer=embed_layer, tap_cfg=tap_cfg)
    with pytest.raises(ValueError, match=f'16 channels for each of 4 x 6 patches, but {got}'):
        backbone(torch.randn(1, 3, 64, 96))


def test_timm_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(ImportError, match='pip install timm'):
        _tiny()


def test_import_without_timm():
    code = (
        "import sys; sys.modules['timm'] = None; import mmrobust.models; "
        "assert not any(key.startswith('timm.') for key in sys.modules)"
    )
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)
