"""Every FAN in the golden folder: converted released weights give the released outputs.

A file's name says what it is: ``[seg_][tap_]fan_<size>_<depth>_<p16_224 | p4_hybrid>[...]``.
"""

import json
import re

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from torch import nn

from mmrobust.models import FAN
from mmrobust.models.backbones.released_weights import convert_fan_backbone, convert_fan_classifier
from mmrobust.ops import attention_diversification

from .conftest import golden_folder
from .seeded import image, state_dict

NAME = re.compile(r'^(seg_)?(tap_)?fan_(tiny|small|base|large|xlarge)_\d+_(p4_hybrid|p16_224)', re.IGNORECASE)
GOLDENS = sorted(path.stem for path in golden_folder().glob('*.json') if NAME.match(path.stem))
TOLERANCE = dict(rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not GOLDENS, reason='no FAN in the golden folder')
@pytest.mark.parametrize('name', GOLDENS)
def test_outputs(name):
    golden = json.loads((golden_folder() / f'{name}.json').read_text())
    expected = np.load(golden_folder() / f'{name}.npz')
    dense, _, size, kind = NAME.match(name).groups()
    tap_cfg = dict(num_branches=golden['num_branches']) if 'num_branches' in golden else None
    backbone = FAN(
        arch=f'{size.lower()}_{"hybrid" if "hybrid" in kind.lower() else "vit"}',
        tap_cfg=tap_cfg,
        out_type='featmap' if dense else 'cls_token',
        paired_frequencies=not dense,
    ).eval()
    weights = state_dict(golden['state_dict_shapes'])
    images = image(golden['input_name'], golden['input_shape'])
    head = nn.Identity()
    if dense:
        backbone.load_state_dict(convert_fan_backbone(weights, dense=True))
    else:
        head = nn.Linear(backbone.embed_dims, weights['head.bias'].numel())
        converted = convert_fan_classifier(weights)
        backbone.load_state_dict(_under(converted, 'backbone.'))
        head.load_state_dict(_under(converted, 'head.fc.'))
    with torch.no_grad():
        outs, views = backbone(images, lambda view: view)
        outs = [head(out) for out in outs]

    for index, out in enumerate(outs):
        np.testing.assert_allclose(_sample(out), expected[f'out{index}'], **TOLERANCE)
    for key, view in (('attn_first', views[0]), ('attn_last', views[-1])):
        if key in expected:
            np.testing.assert_allclose(view.probs().mean(1)[:, ::5, ::5].numpy(), expected[key], **TOLERANCE)
    for mode in ('official', 'paper'):
        if f'adl_{mode}_per_layer' in golden:
            terms = [attention_diversification(view.attention, mode=mode).item() for view in views]
            np.testing.assert_allclose(terms, golden[f'adl_{mode}_per_layer'], **TOLERANCE)
    assert len(views) == golden.get('num_attention_maps', len(views))
    if not dense and golden.get('num_branches') != 1:  # a predictor of one branch decides nothing and is left out
        num_params = sum(p.numel() for module in (backbone, head) for p in module.parameters())
        assert num_params / 1e6 == pytest.approx(golden['params_M'], abs=1e-6)


def test_classifier_loads_into_mmpretrain(tiny_hybrid):
    """The converted names are those of mmpretrain's own classifier and head."""
    from tests.test_models.test_backbones.released import as_released

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = ImageClassifier(
            backbone=dict(type='mmrobust.FAN', arch=tiny_hybrid, out_type='cls_token'),
            head=dict(type='LinearClsHead', num_classes=7, in_channels=16),
        )
    released = as_released(_under(model.state_dict(), 'backbone.'))
    released |= {f'head.{key}': value for key, value in _under(model.state_dict(), 'head.fc.').items()}
    model.load_state_dict(convert_fan_classifier(released))


def _under(weights, prefix):
    return {key[len(prefix) :]: value for key, value in weights.items() if key.startswith(prefix)}


def _sample(out):
    """A map is kept at every axis longer than 64 with stride ``size // 16``."""
    if out.dim() != 4:
        return out.numpy()
    return out[tuple(slice(None, None, max(1, size // 16) if size > 64 else 1) for size in out.shape)].numpy()
