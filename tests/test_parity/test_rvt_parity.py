"""Every RVT in the golden folder: converted released weights give the released outputs.

A file's name says what it is: ``[tap_]rvt_<size>[_plus][...]``.
"""

import json
import re

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from torch import nn

from mmrobust.models import RVT
from mmrobust.models.backbones.released_weights import convert_rvt_classifier
from mmrobust.ops import attention_diversification
from tests.test_models.test_backbones.released_rvt import TINY_RVT, as_released_rvt

from .conftest import golden_folder
from .seeded import image, state_dict

NAME = re.compile(r'^(tap_)?rvt_((?:tiny|small|base)(?:_plus)?)', re.IGNORECASE)
GOLDENS = sorted(path.stem for path in golden_folder().glob('*.json') if NAME.match(path.stem))
TOLERANCE = dict(rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not GOLDENS, reason='no RVT in the golden folder')
@pytest.mark.parametrize('name', GOLDENS)
def test_outputs(name):
    golden = json.loads((golden_folder() / f'{name}.json').read_text())
    expected = np.load(golden_folder() / f'{name}.npz')
    converted = convert_rvt_classifier(state_dict(golden['state_dict_shapes']))
    backbone = RVT(
        arch=NAME.match(name)[2].lower(),
        tap_cfg=dict(num_branches=golden['num_branches']) if 'num_branches' in golden else None,
        out_type='avg_featmap',
        ffn_type='conv' if 'backbone.blocks.0.mlp.dwconv.weight' in converted else 'linear',
    ).eval()
    head = nn.Linear(backbone.embed_dims, converted['head.fc.bias'].numel())
    backbone.load_state_dict(_under(converted, 'backbone.'))
    head.load_state_dict(_under(converted, 'head.fc.'))
    with torch.no_grad():
        (out,), views = backbone(image(golden['input_name'], golden['input_shape']), lambda view: view)
        logits = head(out)

    np.testing.assert_allclose(logits.numpy(), expected['out0'], **TOLERANCE)
    for key, view in (('attn_first', views[0]), ('attn_last', views[-1])):
        if key in expected:
            np.testing.assert_allclose(view.probs().mean(1)[:, ::5, ::5].numpy(), expected[key], **TOLERANCE)
    for mode in ('official', 'paper'):
        if f'adl_{mode}_per_layer' in golden:
            terms = [attention_diversification(view.attention, mode=mode).item() for view in views]
            np.testing.assert_allclose(terms, golden[f'adl_{mode}_per_layer'], **TOLERANCE)
    assert len(views) == golden.get('num_attention_maps', len(views))
    if golden.get('num_branches') != 1:  # a predictor of one branch decides nothing and is left out
        num_params = sum(p.numel() for module in (backbone, head) for p in module.parameters())
        assert num_params / 1e6 == pytest.approx(golden['params_M'], abs=1e-6)


def test_classifier_loads_into_mmpretrain():
    """The converted names are those of mmpretrain's own classifier and head."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = ImageClassifier(
            backbone=dict(type='mmrobust.RVT', arch=TINY_RVT, out_type='avg_featmap'),
            head=dict(type='LinearClsHead', num_classes=7, in_channels=32),
        )
    released = as_released_rvt(_under(model.state_dict(), 'backbone.'), TINY_RVT['depth'])
    released |= {f'head.{key}': value for key, value in _under(model.state_dict(), 'head.fc.').items()}
    model.load_state_dict(convert_rvt_classifier(released))


def _under(weights, prefix):
    return {key[len(prefix) :]: value for key, value in weights.items() if key.startswith(prefix)}
