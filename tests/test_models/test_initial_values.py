"""Initial values are drawn as in the released code: mean, spread and bounds, within the error of a sample."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import Tensor

from mmrobust.cli import load_config
from mmrobust.models import FAN, RVT

CONFIGS = Path(__file__).parents[2] / 'configs'


def assert_drawn(values: list[Tensor], std: float, bound: float = math.inf, kurtosis: float = 3.0) -> None:
    """Mean 0, this spread and kurtosis, and nothing beyond the bound, which is nearly reached."""
    drawn = torch.cat([value.detach().flatten() for value in values]).double()
    n = len(drawn)
    assert n > 2000
    assert abs(drawn.mean()) < 5 * std / math.sqrt(n)
    error = math.sqrt((kurtosis - 1) / (4 * n))  # relative, of a standard deviation
    assert drawn.std() == pytest.approx(std, rel=5 * error)
    assert drawn.abs().max() <= bound and (bound == math.inf or drawn.abs().max() > 0.98 * bound)
    fourth = (drawn**4).mean() / drawn.var() ** 2
    assert fourth == pytest.approx(kurtosis, abs=max(0.02, 5 * math.sqrt(96 / n)))


def assert_zero(values: list[Tensor]) -> None:
    assert not any(value.any() for value in values)


def assert_of_torch(layers: list[torch.nn.Module]) -> None:
    """PyTorch's own: uniform within one over the square root of the fan-in, weights and biases."""
    for part in ('weight', 'bias'):
        scaled = [getattr(layer, part) * math.sqrt(layer.weight[0].numel()) for layer in layers]
        assert_drawn(scaled, 1 / math.sqrt(3), 1, 1.8)


@pytest.fixture(scope='module')
def hybrid() -> FAN:
    torch.manual_seed(0)
    return FAN(dict(embed_dims=(128, 256), depth=(3, 1), num_heads=(8, 8), stem_depths=(3, 3), feature_blocks=(2,)))


def test_convnext_stem_of_the_hybrids(hybrid):
    stem = hybrid.patch_embed
    depthwise = [block.conv_dw for stage in stem.stages for block in stage]
    convs = [stem.stem[0], stem.downsample[1], *depthwise]
    for conv in convs[:2]:
        assert_drawn([conv.weight], 0.02)
    assert_drawn([conv.weight for conv in depthwise], 0.02)
    pointwise = [linear for stage in stem.stages for block in stage for linear in (block.fc1, block.fc2)]
    assert_drawn([linear.weight for linear in pointwise], 0.02)
    assert_zero([layer.bias for layer in (*convs, *pointwise)])
    bound = 1 / math.sqrt(4 * 256)
    assert_drawn([stem.proj.weight], bound / math.sqrt(3), bound, 1.8)  # no part of the ConvNeXt


def test_halving_of_the_grid_of_xlarge(hybrid):
    assert_drawn([hybrid.downsample.proj.weight], math.sqrt(2 / (9 * 256)))
    assert_zero([hybrid.downsample.proj.bias])


def test_linear_layers_of_fan(hybrid):
    layers = [layer for layer in hybrid.blocks.modules() if isinstance(layer, torch.nn.Linear)]
    assert_drawn([layer.weight for layer in layers], 0.02)
    assert_zero([layer.bias for layer in layers if layer.bias is not None])


def test_rvt_is_torchs_own():
    torch.manual_seed(0)
    model = RVT(dict(embed_dims=192, depth=4, num_heads=3, scaled_blocks=1), out_type='avg_featmap', ffn_type='linear')
    assert_of_torch([layer for layer in model.blocks.modules() if isinstance(layer, torch.nn.Linear)])
    scaling = model.blocks[0].position_scaling.logits
    # of a standard normal cut off at 1: variance 1 - 2 phi(1) / (2 Phi(1) - 1), fourth moment 1 - ... likewise
    density, inside = math.exp(-0.5) / math.sqrt(2 * math.pi), math.erf(1 / math.sqrt(2))
    variance = 1 - 2 * density / inside
    fourth = 3 * variance - 2 * density / inside
    assert_drawn([scaling], 0.02 * math.sqrt(variance), 0.02, fourth / variance**2)


@pytest.mark.parametrize(
    ('config', 'options', 'std'),
    [
        ('fan_imagenet', {}, 0.02),
        ('fan_imagenet', {'model.head.init_cfg.std': 2e-5}, 2e-5),  # FAN-L
        ('rvt_imagenet', {}, None),
        ('rvt_tap_adl_imagenet', {}, None),
    ],
)
def test_heads(config, options, std):
    head = load_config(str(CONFIGS / f'{config}.py'), options).model.head
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        head = MODELS.build(head)
    head.init_weights()
    if std is None:
        bound = 1 / math.sqrt(head.fc.in_features)
        assert_drawn([head.fc.weight], bound / math.sqrt(3), bound, 1.8)
        assert head.fc.bias.any()
    else:
        assert_drawn([head.fc.weight], std)
        assert_zero([head.fc.bias])
