import pytest
import torch
from torch import nn

from mmrobust.models import DeiT

timm = pytest.importorskip('timm')

# parameters with a head of 1000 classes: 5.7, 22.1 and 86.6 million (Touvron et al., Table 5), and with two heads
PUBLISHED = {
    'tiny': (5_717_416, 5_910_800),
    'small': (22_050_664, 22_436_432),
    'base': (86_567_656, 87_338_192),
}


@pytest.mark.parametrize('arch', PUBLISHED)
@pytest.mark.parametrize('distilled', [False, True])
def test_parameters(arch, distilled):
    with torch.device('meta'):
        backbone = DeiT(arch, distilled, out_type='cls_token')
        heads = [nn.Linear(backbone.embed_dims, 1000) for _ in range(1 + distilled)]
    assert sum(p.numel() for module in (backbone, *heads) for p in module.parameters()) == PUBLISHED[arch][distilled]


@pytest.mark.parametrize('arch', PUBLISHED)
def test_parameters_of_tap(arch):
    with torch.device('meta'):
        plain, tap = (DeiT(arch, tap_cfg=tap_cfg) for tap_cfg in (None, dict(num_branches=4)))
    difference = sum(p.numel() for p in tap.parameters()) - sum(p.numel() for p in plain.parameters())
    assert difference == 12 * (9 * plain.embed_dims * 4 + 2 * 4 + 9 * 4 * 4)


@pytest.mark.parametrize('distilled', [False, True])
def test_timms_weights_give_timms_output(distilled):
    name = 'deit_tiny_distilled_patch16_224' if distilled else 'deit_tiny_patch16_224'
    sizes = dict(depth=2, img_size=64)
    model = timm.create_model(name, num_classes=0, **sizes).eval()
    backbone = DeiT('tiny', distilled, out_type='cls_token', **sizes).eval()
    backbone.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images)[0], model(images), rtol=0, atol=1e-5)


def test_as_a_classifier_with_tap():
    from mmpretrain.registry import MODELS

    config = dict(
        type='ImageClassifier',
        _scope_='mmpretrain',
        backbone=dict(
            type='mmrobust.DeiT', arch='tiny', tap_cfg=dict(num_branches=2), out_type='cls_token', depth=2, img_size=64
        ),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=192),
    )
    assert MODELS.build(config)(torch.randn(2, 3, 64, 64)).shape == (2, 3)


def test_unknown_arch():
    with pytest.raises(ValueError, match=r"'tiny', 'small', 'base'.*got 'huge'"):
        DeiT('huge')
