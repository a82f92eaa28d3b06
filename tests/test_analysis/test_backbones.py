"""Every backbone of this project can be analysed."""

import pytest
import torch

from mmrobust.analysis import (
    STATISTICS,
    AttentionStatistics,
    StatisticsTable,
    TokenNorms,
    require_observable,
    rollout_statistics,
)
from mmrobust.models import FAN, RVT, Swin, TimmViT

ARCH = dict(embed_dims=16, depth=2, num_heads=2, stem_depths=(1, 1), feature_blocks=(1,))
RVT_PLUS = dict(embed_dims=(16, 32), depth=(2, 1), num_heads=(2, 4), scaled_blocks=1)


def timm_vit(**kwargs):
    pytest.importorskip('timm')
    return TimmViT('vit_tiny_patch16_224', img_size=64, embed_dim=16, depth=2, num_heads=2, **kwargs)


BACKBONES = {
    'fan': lambda: FAN(ARCH, dict(num_branches=3)),
    'rvt': lambda: RVT(RVT_PLUS, img_size=(64, 96), out_indices=(2,)),
    'swin': lambda: Swin(dict(embed_dims=8, depth=(2, 2), num_heads=(2, 4), window_size=5), out_indices=(0, 1)),
    'class token': timm_vit,
    'registers': lambda: timm_vit(reg_tokens=2),
    'patches': lambda: timm_vit(reg_tokens=2, observed_tokens='patches'),
}
PREFIX_TOKENS = {'class token': 1, 'registers': 3}
OF_CLASS_TOKEN = {'class_patch_share', 'class_patches', 'rollout_patches'}
OF_TOKENS = {'norm_ratio', 'outlier_share', 'activation_ratio'}
# of 64 x 96 pixels; RVT halves its grid before the last block, and Swin shows that of a window
GRIDS = {'rvt': [(4, 6), (4, 6), (2, 3)], 'swin': [(5, 5)] * 4}


@pytest.mark.parametrize('name', BACKBONES)
def test_statistics_of_a_backbone(name):
    backbone = BACKBONES[name]().eval()
    images = torch.randn(2, 3, 64, 96)
    batch = torch.cat((images, images + 0.5 * torch.randn_like(images)))
    statistics, norms = AttentionStatistics(paired=True), TokenNorms()
    with torch.no_grad():
        layers = backbone(batch, lambda view: statistics(view) | norms(view))[1]
        views = backbone(batch, lambda view: view)[1]
        same = backbone(torch.cat((images, images)), statistics)[1]
    assert {view.num_prefix_tokens for view in views} == {PREFIX_TOKENS.get(name, 0)}
    assert [view.hw_shape for view in views] == GRIDS.get(name, [(4, 6), (4, 6)])
    assert all(view.tokens.shape[0] == 4 and view.tokens.shape[2] % 8 == 0 for view in views)
    layers = [layer | more for layer, more in zip(layers, rollout_statistics(views), strict=True)]
    table = StatisticsTable()
    table.add(layers, paired=True)
    assert table.num_images == 2
    for layer, unchanged in zip(layers, same, strict=True):
        missing = set() if PREFIX_TOKENS.get(name) else OF_CLASS_TOKEN
        missing = missing | (set() if name == 'registers' else {'register_share'})
        assert set(layer) == set(STATISTICS) - missing - ({'first_share'} if name == 'swin' else set())
        for statistic, values in layer.items():
            assert len(values) == (2 if STATISTICS[statistic].of_pairs else 4)
            if STATISTICS[statistic].from_one:
                assert (values >= 1 - 1e-4).all()
            else:
                assert ((values >= 0) & (values <= 1 + 1e-5)).all()
                assert (values > 0).any() or statistic in ('outlier_share', 'sink_rate')
        for statistic in ('stability_map', 'stability_rows'):
            torch.testing.assert_close(unchanged[statistic], torch.ones_like(unchanged[statistic]))


def test_table_has_every_layer_and_head():
    backbone = FAN(ARCH).eval()
    table = StatisticsTable()
    for _ in range(3):
        with torch.no_grad():
            table.add(backbone(torch.randn(2, 3, 64, 64), AttentionStatistics(paired=True))[1], True)
    rows = [row for row in table.rows() if row[:2] == ('clean', 'top_share')]
    assert [row[2:5] for row in rows] == [
        ('all', 'all', 12),
        *[(layer, head, 6 if head == 'all' else 3) for layer in (1, 2) for head in ('all', 1, 2)],
    ]
    assert table.boxes('stability_map', 'clean') == {}
    assert set(table.boxes('stability_map', 'clean-corrupted')) == {None, 1, 2}


def test_only_what_can_be_observed():
    model = torch.nn.Module()
    with pytest.raises(TypeError, match='not in Module'):
        require_observable(model)
    model.backbone = torch.nn.Conv2d(3, 3, 1)
    with pytest.raises(TypeError, match='not in Conv2d'):
        require_observable(model)
