"""A frozen VisionTransformer or Eva of timm with an adapter."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmrobust.acceleration import compile_in_training
from mmrobust.models import AttentionDiversificationLoss, TimmViT

timm = pytest.importorskip('timm')

SIZES = dict(embed_dim=16, depth=3, num_heads=2)
ADAPTER = dict(num_tokens=4, rank=2)
# a class token, registers and layer scale, rotary position embedding, no prefix token
NAMES = {
    'vit_tiny_patch16_224': dict(img_size=64),
    'vit_small_patch14_reg4_dinov2': dict(img_size=56),
    'vit_small_patch16_dinov3': dict(img_size=64),
    'vit_medium_patch16_gap_256': dict(img_size=64),
}
every_name = pytest.mark.parametrize('name', NAMES)


def _timm(name='vit_tiny_patch16_224'):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, **SIZES, **NAMES[name]).eval()
    for key, parameter in model.named_parameters():
        if parameter.dim() < 2 or 'qkv' in key:
            nn.init.normal_(parameter, std=0.3)
    return model


def _adapted(model=None, name='vit_tiny_patch16_224', fresh=False, **options):
    """A backbone with an adapter on the weights of a network."""
    torch.manual_seed(1)
    backbone = TimmViT(name, **{'adapter': ADAPTER, **SIZES, **NAMES[name], **options})
    if model is not None:
        backbone.load_pretrained(model.state_dict(), 'timm')
    if not fresh:
        for parameter in backbone.adapter.parameters():
            nn.init.normal_(parameter, std=0.3)
    return backbone


def _images(name='vit_tiny_patch16_224', batch=2):
    torch.manual_seed(2)
    size = NAMES[name]['img_size']
    return torch.randn(batch, 3, size, size)


def _is_learnt(key):
    return key.startswith('adapter.') or '.tap.' in key


@every_name
@pytest.mark.parametrize('out_type', ['featmap', 'cls_token'])
def test_a_new_adapter_leaves_the_frozen_network_as_it_is(name, out_type):
    model = _timm(name)
    options = dict(name=name, out_type=out_type, out_indices=(0, 2))
    images = _images(name)
    plain = _adapted(model, adapter=None, fresh=True, **options).eval()(images)
    for out, want in zip(_adapted(model, fresh=True, **options).train()(images), plain, strict=True):
        assert torch.equal(out, want)
    for out, want in zip(_adapted(model, **options).train()(images), plain, strict=True):
        assert not torch.allclose(out, want, atol=1e-3)


def _refined(adapter, x, block):
    """The formula of Rein, by einsum."""
    tokens = torch.einsum('mr,rc->mc', adapter.factors_a[block], adapter.factors_b[block])
    shares = torch.einsum('bnc,mc->bnm', x, tokens).div(x.size(-1) ** 0.5).softmax(2)
    words = torch.einsum('mc,dc->md', tokens, adapter.to_message.weight) + adapter.to_message.bias
    told = torch.einsum('bnm,mc->bnc', shares[:, :, 1:], words[1:])
    return x + torch.einsum('bnc,dc->bnd', told + x, adapter.to_change.weight) + adapter.to_change.bias


@every_name
def test_value_and_gradient_are_those_of_timms_blocks_with_the_formula_between(name):
    model = _timm(name).double()
    backbone = _adapted(model, name, out_indices=(0, 2)).double()
    images = _images(name).double()
    prefix = backbone.num_prefix_tokens
    x = model._pos_embed(model.patch_embed(images))
    x, rope = x if isinstance(x, tuple) else (x, None)
    x, expected = model.norm_pre(x), []
    for index, block in enumerate(model.blocks):
        x = block(x) if rope is None else block(x, rope=rope)
        x = torch.cat((x[:, :prefix], _refined(backbone.adapter, x[:, prefix:], index)), 1)
        if index in (0, 2):
            expected.append(model.norm(x)[:, prefix:].transpose(1, 2).unflatten(2, (4, 4)))
    learnt = list(backbone.adapter.parameters())
    outs = backbone(images)
    torch.testing.assert_close(list(outs), expected)
    gradients, wanted = (torch.autograd.grad(sum((one**3).sum() for one in maps), learnt) for maps in (outs, expected))
    torch.testing.assert_close(gradients, wanted)


@pytest.mark.parametrize('constructor', ['DefaultOptimWrapperConstructor', 'mmrobust.MergedOptimWrapperConstructor'])
@pytest.mark.parametrize('paramwise_cfg', [None, dict(norm_decay_mult=0.0)])
def test_steps_change_the_adapter_and_tap_and_nothing_else(constructor, paramwise_cfg):
    """Weight decay, which needs no gradient in other projects, leaves the rest alone as well."""
    rates = dict(drop_path_rate=0.5, attn_drop_rate=0.5, proj_drop_rate=0.5, pos_drop_rate=0.5)
    backbone = _adapted(fresh=True, out_indices=(1, 2), tap_cfg=dict(num_branches=2), **rates)
    backbone.eval().train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    config = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.5), constructor=constructor)
    if paramwise_cfg is not None:
        config['paramwise_cfg'] = paramwise_cfg
    optimizer = build_optim_wrapper(backbone, config)
    for _ in range(2):
        optimizer.update_params(sum(out.square().mean() for out in backbone(_images())))
    after = backbone.state_dict()
    assert {key for key in before if not torch.equal(before[key], after[key])} == set(filter(_is_learnt, before))
    assert {key for key, parameter in backbone.named_parameters() if parameter.requires_grad} == {
        key for key, _ in backbone.named_parameters() if _is_learnt(key)
    }
    images = _images()
    assert torch.equal(backbone(images)[1], backbone(images)[1])  # nothing is dropped
    in_training = {key for key, module in backbone.named_modules() if module.training and key}
    assert in_training and all(_is_learnt(f'{key}.') for key in in_training)


def test_norm_eval_holds_for_tap():
    backbone = _adapted(tap_cfg=dict(num_branches=2), norm_eval=True).train()
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms) and backbone.blocks[0].tap.training


def test_share_that_is_trained_of_dinov2_and_dinov3():
    """The numbers of the page: 2.5 of 307 and of 306 million, with DINOv3 by one other name."""
    for name, million in (('vit_large_patch14_dinov2', 306.9), ('vit_large_patch16_dinov3', 305.6)):
        with torch.device('meta'):
            backbone = TimmViT(name, adapter=dict(num_tokens=100, rank=16))
        sizes = {key: parameter.numel() for key, parameter in backbone.named_parameters()}
        assert sum(sizes.values()) / 1e6 == pytest.approx(million, abs=0.05)
        trained = sum(sizes[key] for key, parameter in backbone.named_parameters() if parameter.requires_grad)
        assert trained == 2_530_816


def test_adl_trains_the_adapters_before_a_block_and_tap():
    """Attention of the first block depends on nothing that is trained, unless TAP is in front of it."""
    adl = AttentionDiversificationLoss(tau=1.0)
    for tap_cfg, first in ((None, False), (dict(num_branches=2), True)):
        backbone = _adapted(tap_cfg=tap_cfg).train()
        for block in backbone.blocks:
            nn.init.normal_(block.attn.qkv.weight, std=1.0)
        _, terms = backbone(_images(), adl.layer_term)
        assert [term.requires_grad for term in terms] == [first, True, True]
        adl(terms).backward()
        found = {key: p.grad is not None and p.grad.abs().sum() > 0 for key, p in backbone.named_parameters()}
        assert {key for key, has_gradient in found.items() if has_gradient} == set(filter(_is_learnt, found))
        assert not backbone.adapter.factors_a.grad[-1].any()  # the last block's is behind all attention


def _gradients(backbone, images):
    outs = backbone(images)
    sum(out.square().mean() for out in (outs if isinstance(outs, tuple) else (outs,))).backward()
    return {key: p.grad.clone() for key, p in backbone.named_parameters() if p.grad is not None}


def test_checkpointing_changes_nothing():
    model = _timm()
    plain, with_cp = (_gradients(_adapted(model, with_cp=with_cp), _images()) for with_cp in (False, True))
    assert plain.keys() == with_cp.keys() and plain
    for key, gradient in plain.items():
        torch.testing.assert_close(with_cp[key], gradient, msg=key)


def test_bfloat16_autocast_is_near():
    backbone = _adapted(_timm()).eval()
    with torch.autocast('cpu', torch.bfloat16):
        (out,) = backbone(_images())
    torch.testing.assert_close(out.float(), backbone(_images())[0], rtol=0, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('whole', [True, False], ids=['whole', 'block by block'])
def test_compiles_without_graph_break(with_cp, whole):
    model = _timm().double()
    images = _images().double()
    eager = _gradients(_adapted(model, with_cp=with_cp).double(), images)
    torch._dynamo.reset()
    backbone = _adapted(model, with_cp=with_cp).double()
    compile_in_training(backbone, whole, fullgraph=True, backend='aot_eager')
    outs = backbone(images)
    assert ('forward' in vars(backbone.adapter)) != whole
    sum(out.square().mean() for out in outs).backward()
    for key, gradient in eager.items():
        torch.testing.assert_close(dict(backbone.named_parameters())[key].grad, gradient, msg=key)


def _saved(path, weights):
    torch.save(weights, path)
    return dict(type='Pretrained', checkpoint=str(path))


def test_weights_of_timm_get_a_new_adapter_and_own_weights_keep_theirs(tmp_path):
    model = _timm()
    new = _adapted(init_cfg=_saved(tmp_path / 'timm.pth', model.state_dict()), fresh=True)
    initial = {key: value.clone() for key, value in new.adapter.state_dict().items()}
    new.init_weights()
    for key, value in new.state_dict().items():
        of_adapter = key.removeprefix('adapter.')
        assert torch.equal(value, initial[of_adapter] if key.startswith('adapter.') else model.state_dict()[key]), key

    trained = _adapted(model)
    of_a_task = {'state_dict': {f'backbone.{key}': value for key, value in trained.state_dict().items()}}
    for weights in (trained.state_dict(), of_a_task):
        again = _adapted(init_cfg=_saved(tmp_path / 'own.pth', weights))
        again.init_weights()
        assert all(torch.equal(value, trained.state_dict()[key]) for key, value in again.state_dict().items())


def test_weights_of_timm_get_a_new_tap_beside_an_adapter(tmp_path):
    model, tap_cfg = _timm(), dict(num_branches=2)
    options = dict(tap_cfg=tap_cfg, init_cfg=_saved(tmp_path / 'timm.pth', model.state_dict()))
    backbone = _adapted(**options)
    initial = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.init_weights()
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, (initial if _is_learnt(key) else model.state_dict())[key]), key
    with pytest.raises(ValueError, match=r'21 missing.*\n.*blocks.0.tap.predictor.0.weight'):
        _adapted(adapter=None, fresh=True, **options).init_weights()
    options['init_cfg'] = _saved(tmp_path / 'other.pth', _adapted(tap_cfg=dict(num_branches=3)).state_dict())
    with pytest.raises(ValueError, match=r'tap.predictor.0.weight \(3, 16, 3, 3\) instead of \(2, 16, 3, 3\)'):
        _adapted(**options).init_weights()


def test_a_resumed_step_equals_the_undisturbed_one(tmp_path):
    def parts():
        backbone = _adapted(_timm(), fresh=True)
        return backbone, torch.optim.AdamW(filter(lambda p: p.requires_grad, backbone.parameters()), lr=0.01)

    def step(backbone, optimizer):
        optimizer.zero_grad()
        _gradients(backbone, _images())
        optimizer.step()

    backbone, optimizer = parts()
    step(backbone, optimizer)
    torch.save((backbone.state_dict(), optimizer.state_dict()), tmp_path / 'saved.pth')
    step(backbone, optimizer)
    resumed, of_resumed = parts()
    for part, state in zip((resumed, of_resumed), torch.load(tmp_path / 'saved.pth'), strict=True):
        part.load_state_dict(state)
    step(resumed, of_resumed)
    for key, value in backbone.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


def test_random_weights_are_refused(recwarn):
    with pytest.raises(ValueError, match=r'must start from trained weights, got none: give model.backbone.pretrained='):
        _adapted().init_weights()


def test_weights_with_an_adapter_of_another_size_are_refused(tmp_path):
    other = _adapted(adapter=dict(num_tokens=5, rank=2))
    target = _adapted(init_cfg=_saved(tmp_path / 'own.pth', other.state_dict()))
    with pytest.raises(ValueError, match=r'adapter.factors_a \(3, 5, 2\) instead of \(3, 4, 2\)'):
        target.init_weights()


@pytest.mark.parametrize(
    ('options', 'kind', 'message'),
    [
        ({'adapter': True}, TypeError, r'adapter must be a dict such as dict\(num_tokens=100, rank=16\), got True'),
        ({'adapter': dict(num_tokens=1)}, ValueError, 'num_tokens of TokenRefinement must be at least 2, got 1'),
        ({'adapter': dict(rank=0)}, ValueError, 'rank of TokenRefinement must be at least 1, got 0'),
        ({'frozen_stages': 0}, ValueError, 'frozen_stages must be -1 with an adapter, .* got 0'),
    ],
)
def test_bad_arguments(options, kind, message):
    with pytest.raises(kind, match=message):
        _adapted(**options)
