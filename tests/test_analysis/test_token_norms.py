"""Norms of tokens, against numbers set by hand and NumPy."""

import numpy as np
import pytest
import torch

from mmrobust.analysis import TokenNorms
from mmrobust.models import TimmViT
from mmrobust.models.layers import AttentionView
from mmrobust.ops import Attention


def view_of(tokens: torch.Tensor, hw_shape: tuple[int, int], num_prefix_tokens: int = 0) -> AttentionView:
    attention = Attention(*torch.randn(2, len(tokens), 1, tokens.size(1), 2))
    return AttentionView(attention, hw_shape, num_prefix_tokens, tokens=tokens)


def test_values_by_hand():
    """Norms 5, 5, 5, 50, 20 and 5: two of six patches are outliers, and the class token is no patch."""
    tokens = torch.tensor([[3.0, 4], [4, 3], [-3, 4], [0, 50], [20, 0], [5, 0]])
    tokens = torch.cat((torch.tensor([[1000.0, 1]]), tokens))
    found = TokenNorms()(view_of(tokens[None], (2, 3), 1))
    assert found['norm_ratio'].tolist() == [[10]]
    assert found['outlier_share'].tolist() == [[pytest.approx(2 / 6)]]
    # the seventh of 0 0 0 1 3 3 3 | 4 4 4 5 20 50 1000
    assert found['activation_ratio'].tolist() == [[pytest.approx(1000 / 3)]]
    assert TokenNorms(4)(view_of(tokens[None], (2, 3), 1))['outlier_share'].tolist() == [[pytest.approx(1 / 6)]]


def test_as_numpy_says():
    tokens = torch.randn(3, 4 + 35, 8) ** 3
    found = TokenNorms(2)(view_of(tokens, (5, 7), 4))
    for image, x in enumerate(tokens.numpy()):
        norms = np.linalg.norm(x[4:], axis=-1)
        middle = np.quantile(norms, 0.5, method='lower')
        assert found['norm_ratio'][image].item() == pytest.approx(norms.max() / middle, rel=1e-5)
        assert found['outlier_share'][image].item() == pytest.approx((norms > 2 * middle).mean())
        ratio = np.abs(x).max() / np.quantile(np.abs(x), 0.5, method='lower')
        assert found['activation_ratio'][image].item() == pytest.approx(ratio, rel=1e-5)


@pytest.mark.parametrize(('observed_tokens', 'hidden'), [('all', 0), ('patches', 5)])
def test_tokens_are_those_between_the_blocks_of_timm(observed_tokens, hidden):
    timm = pytest.importorskip('timm')
    name, sizes = 'vit_small_patch14_reg4_dinov2', dict(img_size=42, embed_dim=16, depth=3, num_heads=2)
    network = timm.create_model(name, num_classes=0, **sizes).eval()
    backbone = TimmViT(name, tap_cfg=dict(num_branches=1), observed_tokens=observed_tokens, **sizes).eval()
    backbone.load_state_dict(backbone.adapt_state_dict(network.state_dict()))
    before = []
    for block in network.blocks:
        block.register_forward_pre_hook(lambda _, args: before.append(args[0]))
    images = torch.randn(2, 3, 42, 42)
    with torch.no_grad():
        network(images)
        tokens = backbone(images, lambda view: view.tokens)[1]
    for own, of_timm in zip(tokens, before, strict=True):
        torch.testing.assert_close(own, of_timm[:, hidden:])


def test_what_is_not_allowed():
    assert TokenNorms()(view_of(torch.randn(1, 6, 2), (2, 3))._replace(tokens=None)) == {}
    for ratio in (0.5, float('nan')):
        with pytest.raises(ValueError, match=f'outlier_ratio must be at least 1, got {ratio}'):
            TokenNorms(ratio)
