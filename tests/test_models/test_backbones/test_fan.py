import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmrobust.models import FAN
from mmrobust.models.backbones.fan import ARCHS

# parameters and GMACs at 224 x 224 with a 1000-way head, measured on the released networks: without TAP, with K = 4
PUBLISHED = {
    'tiny_vit': (7_319_920, 1.476, 7_404_688, 1.492),
    'small_vit': (28_345_336, 5.460, 28_513_048, 5.493),
    'base_vit': (54_350_320, 10.658, 54_643_360, 10.716),
    'large_vit': (80_574_100, 15.962, 80_992_468, 16.044),
    'tiny_hybrid': (7_467_240, 3.639, 7_523_752, 3.650),
    'small_hybrid': (26_117_944, 6.985, 26_257_704, 7.013),
    'base_hybrid': (50_475_048, 11.771, 50_735_528, 11.822),
    'large_hybrid': (76_855_140, 17.685, 77_238_644, 17.761),
    'xlarge_hybrid': (120_407_316, 21.10, 120_873_916, 21.177),
}


def test_every_arch_is_published():
    assert set(PUBLISHED) == set(ARCHS)


@pytest.mark.parametrize('arch', ARCHS)
@pytest.mark.parametrize('tap', [False, True])
def test_parameters_and_macs(arch, tap):
    num_params, gmacs = PUBLISHED[arch][2 * tap : 2 * tap + 2]
    with torch.device('meta'):
        backbone = FAN(arch, dict(num_branches=4) if tap else None, out_type='cls_token').eval()
        head = nn.Linear(backbone.embed_dims, 1000)
        images = torch.empty(1, 3, 224, 224)
    assert sum(p.numel() for module in (backbone, head) for p in module.parameters()) == num_params
    # the plain kernel, because not all fused ones are counted
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        head(backbone(images)[0])
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, abs=2e-3)  # published with two or three decimals


def test_parameters_of_dense_base_hybrid():
    """The released backbone, 50 285 632, without the 27 tensors that dense prediction leaves without a gradient."""
    with torch.device('meta'):
        backbone = FAN('base_hybrid', dict(num_branches=4))
    attention, mlp = 4 * (448 * 448 + 448), 2 * 448 * 1792 + 1792 + 448
    unused = 448 + 2 * (attention + mlp + 448)  # cls_token, and of each class block its attention, MLP and gamma2
    assert sum(p.numel() for p in backbone.parameters()) == 50_285_632 - unused


@pytest.mark.parametrize(
    ('arch', 'channels', 'strides'),
    [
        ('tiny_hybrid', (128, 256, 192, 192), (4, 8, 16, 16)),
        ('xlarge_hybrid', (128, 256, 528, 768), (4, 8, 16, 32)),
        ('tiny_vit', (192, 192, 192, 192), (16, 16, 16, 16)),
    ],
)
def test_feature_maps(arch, channels, strides):
    with torch.device('meta'):
        outs = FAN(arch)(torch.empty(1, 3, 64, 128))
    expected = [(1, width, 64 // stride, 128 // stride) for width, stride in zip(channels, strides, strict=True)]
    assert [tuple(out.shape) for out in outs] == expected


def test_out_indices(tiny_hybrid):
    full = FAN(tiny_hybrid).eval()
    part = FAN(tiny_hybrid, out_indices=(1, 2)).eval()
    part.load_state_dict(full.state_dict(), strict=False)
    images = torch.randn(1, 3, 32, 64)
    for got, want in zip(part(images), full(images)[1:3], strict=True):
        assert torch.equal(got, want)
    assert not any('cls_attn_blocks' in key for key in part.state_dict())


def test_class_token(tiny_hybrid):
    (token,) = FAN(tiny_hybrid, out_type='cls_token')(torch.randn(2, 3, 32, 64))
    assert token.shape == (2, 16)


def test_one_branch_equals_no_tap(tiny_hybrid):
    plain, one_branch = FAN(tiny_hybrid).eval(), FAN(tiny_hybrid, tap_cfg=dict(num_branches=1)).eval()
    one_branch.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 32, 64)
    for got, want in zip(one_branch(images), plain(images), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize(
    ('tap_cfg', 'num_params'),
    [
        (dict(type='mmrobust.TokenAvgPool', kernel_size=3), 50_475_048),
        (dict(type='mmrobust.TokenAvgPool', kernel_size=5), 50_475_048),
        (dict(type='mmrobust.TokenConv', kernel_size=3), 79_376_424),
        (dict(type='mmrobust.TokenConv', kernel_size=5), 130_756_648),
        (dict(type='mmrobust.MultiKernelTokenAwareAvgPool'), 50_735_528),
    ],
)
def test_rivals_of_table_1(tap_cfg, num_params):
    """50.4, 79.4, 130.7 and 50.7 million in the paper."""
    with torch.device('meta'):
        backbone = FAN('base_hybrid', tap_cfg, out_type='cls_token')
    assert sum(p.numel() for p in backbone.parameters()) + 449_000 == num_params


def test_drop_path_is_the_same_in_all_blocks(tiny_hybrid):
    assert [block.drop_path.drop_prob for block in FAN(tiny_hybrid, drop_path_rate=0.3).blocks] == [0.3, 0.3]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'arch': 'huge'}, "'base_hybrid'.*got 'huge'"),
        ({'tap_cfg': dict(num_branches=0)}, 'at least 1, got 0'),
        ({'out_type': 'raw'}, "'featmap', 'cls_token'.*got 'raw'"),
        ({'out_indices': (0, 4)}, r'within 0 to 3, got \(0, 4\)'),
        ({'out_indices': (2, 1)}, r'ascending.*got \(2, 1\)'),
        ({'out_indices': ()}, r'got \(\)'),
        ({'frozen_stages': 17}, r'-1 to 16 for this arch, got 17'),
    ],
)
def test_bad_arguments(options, message):
    with torch.device('meta'), pytest.raises(ValueError, match=message):
        FAN(**options)
