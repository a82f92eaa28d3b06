import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmseg.models.backbones import SwinTransformer
from mmseg.registry import MODELS as MMSEG_MODELS
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmrobust.models import AttentionDiversificationLoss, Swin
from mmrobust.models.backbones.swin import ARCHS

TINY = dict(embed_dims=8, depth=(2, 2, 2, 2), num_heads=(1, 2, 2, 4), window_size=7)

# With a 1000-way head. Swin: published as 28 M and 4.5 G, 50 M and 8.7 G, 88 M and 15.4 G at 224 x 224; FAN-Swin:
# measured on the released networks.
PUBLISHED = {
    'tiny': ((28_288_354, 4.5), (29_538_940, 4.878)),
    'small': ((49_606_258, 8.7), (53_064_220, 9.542)),
    'base': ((87_768_224, 15.4), (93_599_448, 16.781)),
}


def _randomised(model):
    """Values for everything that starts as 0 or 1, so that a weight in the wrong place is seen."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if 'bias_table' in name:
            nn.init.normal_(parameter)
        elif 'norm' in name and name.endswith('weight'):
            nn.init.uniform_(parameter, 0.5, 1.5)
        elif parameter.dim() == 1:
            nn.init.normal_(parameter, std=0.3)
        elif 'qkv' in name:
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def _of_timm(arch):
    swin = pytest.importorskip('timm').models.swin_transformer.SwinTransformer
    names = dict(embed_dims='embed_dim', depth='depths')
    return _randomised(swin(num_classes=5, **{names.get(key, key): value for key, value in arch.items()}))


def _as_mmseg(state_dict, depths):
    """Our names and values as MMSegmentation's: there the steps between stages take each channel's four tokens in turn,
    row by row."""
    ends = [sum(depths[: stage + 1]) for stage in range(len(depths))]
    converted = {}
    for key, value in state_dict.items():
        kind, *rest = key.split('.')
        if kind == 'patch_embed':
            key = key.replace('proj', 'projection')
        elif kind == 'norms':
            key = f'norm{rest[0]}.{rest[1]}'
        elif kind == 'mergings':
            key = f'stages.{rest[0]}.downsample.{".".join(rest[1:])}'
            value = value.unflatten(-1, (2, 2, -1)).movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3)
        else:
            stage = next(stage for stage, end in enumerate(ends) if int(rest[0]) < end)
            index = int(rest[0]) - ends[stage] + depths[stage]
            name = '.'.join(rest[1:]).replace('attn.', 'attn.w_msa.')
            name = name.replace('mlp.fc1', 'ffn.layers.0.0').replace('mlp.fc2', 'ffn.layers.1')
            key = f'stages.{stage}.blocks.{index}.{name}'
        converted[key] = value
    return converted


def test_a_classifier_of_two_stages_needs_no_out_indices():
    arch = dict(embed_dims=8, depth=(1, 1), num_heads=(1, 2), window_size=4)
    (features,) = Swin(arch, out_type='avg_featmap')(torch.randn(1, 3, 64, 64))
    assert features.shape == (1, 16)
    with pytest.raises(ValueError, match=r'out_indices must be ascending and within 0 to 1, got \(0, 1, 2, 3\)'):
        Swin(arch)


@pytest.mark.parametrize('arch', [TINY, pytest.param('tiny', marks=pytest.mark.slow)])
def test_equals_timm(arch):
    timm = _of_timm(ARCHS[arch] if arch == 'tiny' else arch)
    dense, classifier = Swin(arch, out_indices=(3,)).eval(), Swin(arch, out_type='avg_featmap').eval()
    for ours in (dense, classifier):
        ours.load_state_dict(ours.adapt_state_dict(timm.state_dict()))
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        features = timm.forward_features(images)
        torch.testing.assert_close(dense(images)[0], features.permute(0, 3, 1, 2), rtol=0, atol=1e-5)
        pooled = timm.forward_head(features, pre_logits=True)
        torch.testing.assert_close(classifier(images)[0], pooled, rtol=0, atol=1e-5)


@pytest.mark.parametrize(('height', 'width'), [(288, 512), (262, 331)])
def test_equals_mmseg(height, width):
    """All stages, where no stage has a single window; the second size has padded pixels, windows and odd grids."""
    ours = _randomised(Swin(TINY))
    theirs = SwinTransformer(embed_dims=8, depths=TINY['depth'], num_heads=TINY['num_heads'])
    theirs.eval()  # does not return the model
    index = {key: value for key, value in theirs.state_dict().items() if key.endswith('relative_position_index')}
    theirs.load_state_dict(_as_mmseg(ours.state_dict(), TINY['depth']) | index)
    images = torch.randn(2, 3, height, width)
    with torch.no_grad():
        for got, want in zip(ours(images), theirs(images), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_every_arch_is_published():
    assert set(PUBLISHED) == set(ARCHS)


@pytest.mark.parametrize('arch', ARCHS)
@pytest.mark.parametrize('channel_attention', [False, True])
def test_parameters_and_macs(arch, channel_attention):
    num_params, gmacs = PUBLISHED[arch][channel_attention]
    with torch.device('meta'):
        backbone = Swin(arch, out_type='avg_featmap', channel_attention=channel_attention).eval()
        head = nn.Linear(backbone.embed_dims, 1000)
        images = torch.empty(1, 3, 224, 224)
    assert sum(p.numel() for module in (backbone, head) for p in module.parameters()) == num_params
    # the plain kernel, because not all fused ones are counted
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        head(backbone(images)[0])
    tolerance = 1e-3 if channel_attention else 5e-2  # the decimals that are published
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, abs=tolerance)


@pytest.mark.parametrize('channel_attention', [False, True])
def test_tap_acts_in_every_block(channel_attention):
    """The released FAN-Swin with TAP has the parameters, and the results, of the one without."""
    with torch.device('meta'):
        sizes = [
            sum(p.numel() for p in Swin('base', tap_cfg, channel_attention=channel_attention).parameters())
            for tap_cfg in (None, dict(num_branches=4))
        ]
    dims = [128 * 2**stage for stage, depth in enumerate(ARCHS['base']['depth']) for _ in range(depth)]
    assert sizes[1] - sizes[0] == sum(9 * width * 4 + 2 * 4 + 9 * 4 * 4 for width in dims)

    backbone = Swin(TINY, dict(num_branches=3), channel_attention=channel_attention).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before = backbone(images)[-1]
        for block in backbone.blocks:
            nn.init.normal_(block.tap.predictor[2].weight)
            after = backbone(images)[-1]
            assert not torch.allclose(after, before, atol=1e-4)
            before = after


def test_tap_sees_across_windows():
    """Without it the first block, which is not shifted, keeps to its windows."""
    for tap_cfg, reached in ((None, 7), (dict(num_branches=2), 9)):
        block = Swin(TINY, tap_cfg).eval().blocks[0]
        x = torch.zeros(1, 7 * 14, 8, requires_grad=True)
        out, _ = block(x + torch.randn(7 * 14, 8), (7, 14))
        (grad,) = torch.autograd.grad(out.unflatten(1, (7, 14))[:, :, 6].sum(), x)
        columns = grad.unflatten(1, (7, 14)).abs().sum((0, 1, 3)).nonzero().flatten()
        # column 6 is in the window of columns 0 to 6; its branch predictor, two 3 x 3 convolutions, sees two further
        assert columns.tolist() == list(range(reached))


def test_one_branch_equals_no_tap():
    plain, one_branch = Swin(TINY).eval(), Swin(TINY, dict(num_branches=1)).eval()
    one_branch.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 50, 70)
    for got, want in zip(one_branch(images), plain(images), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize(('height', 'width'), [(64, 128), (33, 70), (1, 1)])
def test_feature_maps(height, width):
    outs = Swin(TINY)(torch.randn(1, 3, height, width))
    strides = (4, 8, 16, 32)
    expected = [(1, 8 * 2**stage, -(-height // stride), -(-width // stride)) for stage, stride in enumerate(strides)]
    assert [tuple(out.shape) for out in outs] == expected


def test_out_indices():
    full, part = Swin(TINY).eval(), Swin(TINY, out_indices=(1, 2)).eval()
    part.load_state_dict(full.state_dict(), strict=False)
    images = torch.randn(1, 3, 32, 64)
    for got, want in zip(part(images), full(images)[1:3], strict=True):
        assert torch.equal(got, want)
    assert set(part.norms) == {'1', '2'}


def test_drop_path_grows_from_block_to_block():
    blocks = Swin(TINY, drop_path_rate=0.7).blocks
    assert [block.drop_path.drop_prob for block in blocks] == pytest.approx([0.1 * index for index in range(8)])


def test_frozen_step_between_stages():
    def is_frozen(frozen_stages):
        merging = Swin(TINY, frozen_stages=frozen_stages).mergings[0]
        return not any(parameter.requires_grad for parameter in merging.parameters())

    assert [is_frozen(frozen_stages) for frozen_stages in (-1, 2, 3)] == [False, False, True]


def test_adl_of_a_batch_is_the_mean_over_images():
    backbone = _randomised(Swin(TINY))
    adl = AttentionDiversificationLoss(tau=1.0)
    images = torch.randn(3, 3, 66, 90)
    with torch.no_grad():
        together = torch.stack(backbone(images, adl.layer_term)[1])
        alone = [torch.stack(backbone(image[None], adl.layer_term)[1]) for image in images]
    torch.testing.assert_close(together, torch.stack(alone).mean(0))
    assert (together > 0).all()


def _saved(tmp_path, state_dict):
    path = tmp_path / 'weights.pth'
    torch.save({'model': state_dict}, path)
    return dict(type='Pretrained', checkpoint=str(path))


def _assert_same(backbone, expected):
    state_dict = backbone.state_dict()
    assert set(state_dict) == set(expected)
    for key, value in state_dict.items():
        torch.testing.assert_close(value, expected[key], msg=key)


@pytest.mark.parametrize('with_head', [False, True])
@pytest.mark.parametrize('step_counted_to', ['next', 'previous'])
@pytest.mark.parametrize('out_type', ['featmap', 'avg_featmap'])
def test_pretrained_by_others(tmp_path, with_head, step_counted_to, out_type):
    """timm's names, and the authors', who count a step to the stage before it and save what can be computed."""
    timm = _of_timm(TINY).state_dict()
    released = {key: value for key, value in timm.items() if with_head or not key.startswith('head.')}
    if step_counted_to == 'previous':
        for stage in (1, 2, 3):
            for name in ('norm.weight', 'norm.bias', 'reduction.weight'):
                released[f'layers.{stage - 1}.downsample.{name}'] = timm[f'layers.{stage}.downsample.{name}']
        released = {key: value for key, value in released.items() if not key.startswith('layers.3.downsample')}
        released['layers.0.blocks.1.attn_mask'] = torch.zeros(64, 49, 49)
        released['layers.0.blocks.1.attn.relative_position_index'] = torch.zeros(49, 49)
    backbone = Swin(TINY, out_type=out_type, init_cfg=_saved(tmp_path, released))
    backbone.init_weights()
    own = backbone.state_dict()
    for stage in (1, 2, 3):
        key = f'layers.{stage}.downsample.reduction.weight'
        assert torch.equal(own[f'mergings.{stage - 1}.reduction.weight'], timm[key])
    for index in range(8):
        key = f'layers.{index // 2}.blocks.{index % 2}.attn.qkv.weight'
        assert torch.equal(own[f'blocks.{index}.attn.qkv.weight'], timm[key])
    assert torch.equal(own['norms.3.weight'], timm['norm.weight'])
    if out_type == 'featmap':
        assert torch.equal(own['norms.0.weight'], torch.ones(8))


@pytest.mark.parametrize('source_type', ['featmap', 'avg_featmap'])
@pytest.mark.parametrize('out_type', ['featmap', 'avg_featmap'])
def test_pretrained_here(tmp_path, source_type, out_type):
    source = _randomised(Swin(TINY, dict(num_branches=2), source_type, channel_attention=True)).state_dict()
    task = {f'backbone.{key}': value for key, value in source.items()} | {'head.fc.weight': torch.zeros(3, 64)}
    target = Swin(TINY, dict(num_branches=2), out_type, channel_attention=True, init_cfg=_saved(tmp_path, task))
    fresh = {key: value.clone() for key, value in target.state_dict().items() if key.startswith('norms.')}
    target.init_weights()
    _assert_same(target, {key: source.get(key, fresh.get(key)) for key in target.state_dict()})


@pytest.mark.parametrize('options', [dict(tap_cfg=dict(num_branches=2)), dict(channel_attention=True)])
def test_other_architecture_is_named(tmp_path, options):
    target = Swin(TINY, **options, init_cfg=_saved(tmp_path, _of_timm(TINY).state_dict()))
    with pytest.raises(ValueError, match=r'weights.pth does not fit.*missing'):
        target.init_weights()


def test_missing_output_norm_is_named(tmp_path):
    source = Swin(TINY, out_indices=(2, 3)).state_dict()
    with pytest.raises(ValueError, match=r'norms\.1\.weight'):
        Swin(TINY, out_indices=(1, 2, 3), init_cfg=_saved(tmp_path, source)).init_weights()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'arch': 'huge'}, "'base'.*got 'huge'"),
        ({'tap_cfg': dict(num_branches=0)}, 'at least 1, got 0'),
        ({'out_type': 'cls_token'}, "'featmap', 'avg_featmap'.*got 'cls_token'"),
        ({'out_indices': (0, 4)}, r'within 0 to 3, got \(0, 4\)'),
        ({'out_indices': ()}, r'got \(\)'),
        ({'frozen_stages': 25}, r'-1 to 24 for this arch, got 25'),
    ],
)
def test_bad_arguments(options, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        Swin(**options)


def test_in_an_encoder_decoder():
    """With UPerHead and FCNHead of MMSegmentation, on images that are no multiple of anything, with ADL."""
    norm_cfg = dict(type='BN')
    shared = dict(channels=8, num_classes=3, norm_cfg=norm_cfg, align_corners=False)
    model = MMSEG_MODELS.build(
        dict(
            type='mmrobust.RobustEncoderDecoder',
            backbone=dict(type='mmrobust.Swin', arch=TINY, tap_cfg=dict(num_branches=2)),
            decode_head=dict(
                type='UPerHead', in_channels=[8, 16, 32, 64], in_index=[0, 1, 2, 3], pool_scales=(1, 2), **shared
            ),
            auxiliary_head=dict(type='FCNHead', in_channels=32, in_index=2, num_convs=1, **shared),
            loss_attn=dict(type='mmrobust.AttentionDiversificationLoss', tau=0.5),
            test_cfg=ConfigDict(mode='whole'),
        )
    )
    images = torch.randn(2, 3, 75, 130)
    samples = []
    for _ in images:
        sample = SegDataSample(metainfo=dict(ori_shape=(75, 130), img_shape=(75, 130), pad_shape=(75, 130)))
        sample.set_data(dict(gt_sem_seg=PixelData(data=torch.randint(0, 3, (1, 75, 130)))))
        samples.append(sample)
    losses = model.loss(images, samples)
    assert {'decode.loss_ce', 'aux.loss_ce', 'loss_adl'} <= set(losses) and losses['loss_adl'] > 0
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert all(parameter.grad is not None for parameter in model.backbone.parameters())
    with torch.no_grad():
        assert model.eval().predict(images, samples)[0].pred_sem_seg.data.shape == (1, 75, 130)


def test_in_a_classifier():
    head = MMPRETRAIN_MODELS.build(dict(type='mmpretrain.LinearClsHead', num_classes=5, in_channels=64))
    assert head(Swin(TINY, out_type='avg_featmap')(torch.randn(2, 3, 40, 72))).shape == (2, 5)
