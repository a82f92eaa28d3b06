"""The forms that ours is measured against compute the same: otherwise a ratio of times would say nothing."""

import pytest
import torch

from mmrobust.models.backbones import FAN, Swin
from mmrobust.models.layers import AttentionView, attend
from mmrobust.models.losses import AttentionDiversificationLoss
from mmrobust.ops import Attention, dilated_windows, kernel_windows, weighted_avg_pool
from performance.released_form import full_map_attend, released_form, unfold_pool


@pytest.mark.parametrize('windows', [dilated_windows(4), kernel_windows(3)])
def test_unfold_pool(windows):
    torch.manual_seed(0)
    x = torch.randn(2, 5, 6, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 5, 6, len(windows), dtype=torch.float64).softmax(-1).requires_grad_()
    results = []
    for pool in (unfold_pool, weighted_avg_pool):
        out = pool(x, weights, windows)
        results.append((out, *torch.autograd.grad(out.square().sum(), (x, weights))))
    for released, ours in zip(*results, strict=True):
        torch.testing.assert_close(released, ours)


@pytest.mark.parametrize('options', [{}, {'mode': 'official'}, {'per_head': True}])
def test_full_map_attend(options):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 7, 4, dtype=torch.float64).requires_grad_() for _ in range(3))
    with torch.no_grad():
        query *= 3
    observe = AttentionDiversificationLoss(tau=1.0, **options).layer_term
    results = []
    for form in (full_map_attend, attend):
        out, term = form(AttentionView(Attention(query, key), (1, 7)), value, observe=observe)
        results.append((out, term, *torch.autograd.grad(out.square().sum() + term, (query, key, value))))
    assert results[0][1] > 0
    for released, ours in zip(*results, strict=True):
        torch.testing.assert_close(released, ours)


@pytest.mark.parametrize(
    ('kind', 'arch'),
    [
        (FAN, dict(embed_dims=16, depth=2, num_heads=2, feature_blocks=(0,), stem_depths=(1, 1))),
        (Swin, dict(embed_dims=8, depth=(2, 2), num_heads=(1, 2), window_size=4)),
    ],
)
def test_a_whole_backbone(kind, arch):
    """Within the context every layer takes the released form, and afterwards none."""
    torch.manual_seed(0)
    backbone = kind(arch, tap_cfg=dict(num_branches=3), out_indices=(0, 1))
    for name, weight in backbone.named_parameters():
        if name.endswith(('q.weight', 'kv.weight', 'qkv.weight')):
            torch.nn.init.normal_(weight)
    adl = AttentionDiversificationLoss(tau=1.0)
    images = torch.randn(2, 3, 64, 32)
    results, saved = [], []
    for released in (True, False):
        sizes = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x
        )
        with hooks:
            if released:
                with released_form():
                    outs, terms = backbone(images, adl.layer_term)
            else:
                outs, terms = backbone(images, adl.layer_term)
        loss = adl(terms) + sum(out.square().mean() for out in outs)
        results.append((loss, *torch.autograd.grad(loss, tuple(backbone.parameters()), allow_unused=True)))
        saved.append(sum(sizes))
    for of_released, of_ours in zip(*results, strict=True):
        assert (of_released is None) == (of_ours is None)
        if of_ours is not None:
            torch.testing.assert_close(of_released, of_ours, rtol=1e-3, atol=1e-5)
    assert saved[0] > saved[1]  # neighbourhoods and maps
